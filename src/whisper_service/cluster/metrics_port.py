"""Each replica's own metrics: a request for /metrics through Ray's proxy reaches any of them."""

from __future__ import annotations

import errno

from prometheus_client import start_http_server

_REPLICAS_OF_A_MACHINE = 32  # at most, updates included: as many ports are tried


def show_metrics(first_port: int) -> int:
    """Serves this process's metrics; on the port that is returned.

    Raises:
        OSError: none of the ports from `first_port` on is free.
    """
    for port in range(first_port, first_port + _REPLICAS_OF_A_MACHINE):
        try:
            start_http_server(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise OSError(errno.EADDRINUSE, f"no port is free from {first_port} on for the metrics")
