"""The image's health check: a program of our own, since the image has no curl."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from whisper_service import healthcheck


class Service(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        monkeypatch.setenv("WHISPER_PORT", str(server.server_port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_exit_code_says_whether_requests_are_taken(
    server: None, monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    monkeypatch.setattr(Service, "status", status)
    assert healthcheck.main() == code


def test_nobody_at_the_port_is_not_healthy(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("WHISPER_PORT", "9")
    assert healthcheck.main() == 1
    assert "no answer on port 9" in capsys.readouterr().err


def test_it_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, whisper_service.healthcheck;"
        "print({'pydantic', 'numpy', 'torch', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
