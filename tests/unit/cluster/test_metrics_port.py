"""Each replica's metrics have a port of their own."""

from __future__ import annotations

import socket

import httpx
import pytest

from whisper_service import metrics  # noqa: F401 -- registers the series
from whisper_service.cluster import metrics_port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def test_the_next_port_is_taken_where_another_replica_has_the_first() -> None:
    first = free_port()
    ports = [metrics_port.show_metrics(first) for _ in range(2)]
    assert ports[0] == first
    assert ports[1] > first
    for port in ports:
        assert "whisper_ready" in httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_where_no_port_is_free_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "_REPLICAS_OF_A_MACHINE", 1)
    first = metrics_port.show_metrics(free_port())
    with pytest.raises(OSError, match="no port is free"):
        metrics_port.show_metrics(first)
