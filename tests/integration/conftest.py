"""One server process with the real engine, for the whole run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

START_SECONDS = 420
STOP_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)


@dataclass(frozen=True)
class Server:
    """A running service: its address, its process and its log so far."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/api/v1", api_key="none", max_retries=0, timeout=600)

    def stop(self) -> int:
        """Ends it as an orchestrator does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(folder: Path, **settings: str) -> Server:
    port = free_port()
    log = folder / "server.log"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("WHISPER_")
    }
    environment |= {"WHISPER_PROFILE": "cpu", "WHISPER_PORT": str(port), **settings}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "whisper_service"],
            env=environment,
            cwd=folder,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    server.process.kill()
    pytest.exit(f"the server did not become ready:\n{server.log.read_text()[-4000:]}", 1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("server"))
    wait_until_ready(server)
    yield server
    if server.process.poll() is None:
        assert server.stop() == 0, server.log.read_text()[-4000:]


@pytest.fixture(scope="session")
def client(server: Server) -> OpenAI:
    return server.client()
