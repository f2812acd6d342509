"""The command line `whisper-service`. Importing it imports neither vLLM nor NumPy."""
