"""A second signal ends the service at once, whatever it is in the middle of."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import httpx
import psutil

from tests.integration.conftest import start_server
from tests.integration.load import PATIENCE, is_engine, processes

ENDED_WITHIN = 2.0  # seconds


def test_a_second_signal_ends_even_a_start_at_once(tmp_path: Path) -> None:
    """A start is what takes longest to end in order: vLLM cannot be stopped half built."""
    server = start_server(tmp_path, TMPDIR=str(tmp_path))

    deadline = time.monotonic() + PATIENCE
    while not (engine := [each for each in processes(server) if is_engine(each)]):
        assert server.process.poll() is None, server.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert httpx.get(f"{server.url}/health/ready").json() == {"status": "starting"}
    assert len(engine) == 1
    below = processes(server)[1:]
    server.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(ENDED_WITHIN) != 0
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []
    assert not list(tmp_path.glob("whisper-*"))  # what was being compiled
