"""A transcript in OpenAI's five formats. Pure functions, no I/O."""
