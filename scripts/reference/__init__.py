"""openai/whisper and the service on the same weights and the same audio, compared."""
