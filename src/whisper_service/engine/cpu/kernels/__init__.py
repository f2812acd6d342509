"""What Numba compiles for a processor, without PyTorch, so that a small process can do it."""
