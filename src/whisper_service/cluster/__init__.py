"""The service on many machines, as a Ray Serve application. Needs the extra `ray`."""
