"""A service that is started for one job, on this machine, for this command alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from whisper_service.cli.client import UnavailableError
from whisper_service.cli.console import err

_START_SECONDS: Final = 900.0  # a large model's first start compiles for minutes
_STOP_SECONDS: Final = 40.0
_LAST_LINES: Final = 12
_LARGEST_UPLOAD: Final = 8 << 30  # bytes: these files are the caller's own
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True)
class Access:
    url: str
    key: str


@contextmanager
def own_service(settings: Mapping[str, str]) -> Iterator[Access]:
    """Starts it, with these variables besides the environment's, and stops it.

    Raises:
        UnavailableError: it did not start; with the end of its log.
    """
    key = secrets.token_hex(32)
    port = _free_port()
    environment = {
        **os.environ,
        "WHISPER_MAX_UPLOAD_BYTES": str(_LARGEST_UPLOAD),
        "WHISPER_UPLOAD_TIMEOUT_SECONDS": "3600",
        **settings,
        "WHISPER_HOST": "127.0.0.1",
        "WHISPER_PORT": str(port),
        "WHISPER_API_KEYS": key,
        "WHISPER_PLAYGROUND": "false",
    }
    with tempfile.TemporaryDirectory(prefix="whisper-service-") as folder:
        log = Path(folder, "service.log")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "whisper_service"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the command, which then stops the service
                preexec_fn=_end_with_parent,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            with err.status("starting the engine"):
                _wait_until_ready(process, url, log)
            yield Access(url, key)
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """Also where this command is killed: the service would stay, and its engine with it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < _START_SECONDS:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/ready", timeout=5).status_code == 200:
                return
        time.sleep(0.25)
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    raise UnavailableError("the engine could not be started:\n" + "\n".join(lines))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
