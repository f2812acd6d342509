"""How the service holds up, measured: the parts of `soak.py` and `reliability.py`."""
