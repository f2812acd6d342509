"""What a request leaves behind for its operator: timings, one log line, spans."""
