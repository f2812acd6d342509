"""The HTTP layer: the OpenAI transcription API over a `Transcriber`."""
