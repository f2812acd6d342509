"""How good the transcripts are, measured beside faster-whisper: the parts of `evaluate.py`."""
