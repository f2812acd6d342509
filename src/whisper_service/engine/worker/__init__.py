"""What runs inside vLLM's processes, beside the loaded model, on any device."""
