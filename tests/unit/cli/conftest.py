"""The commands, against the application over the tests' transcriber, on a port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from tests.unit.api.conftest import Double
from whisper_service.api.app import create_app
from whisper_service.api.keys import KeyRing
from whisper_service.cli import client
from whisper_service.cli.app import app
from whisper_service.settings import Settings


@dataclass
class Running:
    url: str
    app: FastAPI
    transcriber: Double


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    transcriber = Double()
    application = create_app(Settings(_env_file=None), transcriber)
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Running(f"http://127.0.0.1:{port}", application, transcriber)
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def service(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The running service, as new; the client does not wait between its attempts."""
    running.transcriber = Double()
    running.app.state.transcriber = running.transcriber
    running.app.state.keys = KeyRing(())
    monkeypatch.setattr(client, "_LONGEST_WAIT", 0.0)
    for name in ("WHISPER_URL", "WHISPER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return running


class Command:
    """`whisper-service`, its output apart from its errors, as in a pipe 200 columns wide."""

    def __call__(self, *arguments: str | Path, input: bytes | None = None) -> Result:  # noqa: A002
        return CliRunner().invoke(app, [str(each) for each in arguments], input=input)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "200")
    return Command()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with recordings, a subfolder, and what is none."""
    folder = tmp_path / "recordings"
    (folder / "older").mkdir(parents=True)
    for name in ("one.wav", "two.MP3", "older/three.flac"):
        (folder / name).write_bytes(b"RIFF " + name.encode())
    (folder / "notes.md").write_text("no recording")
    (folder / ".hidden.wav").write_bytes(b"RIFF")
    return folder
