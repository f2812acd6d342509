"""Speech to text over the OpenAI transcription API, with Whisper on one vLLM engine."""

__version__ = "0.1.0"
