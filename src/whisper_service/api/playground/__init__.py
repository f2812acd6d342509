"""The page at `/`, where a recording can be tried."""
