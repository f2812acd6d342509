"""The service as a process of its own, with its log in a file, and what its processes hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from demo import free_port, stop, wait_until_ready

_MIB = 2**20


@dataclass
class RunningService:
    url: str
    process: subprocess.Popen[str] | None  # None: somebody else's
    log: Path | None
    exit_code: int | None = None


@contextmanager
def started(log: Path, **settings: str) -> Iterator[RunningService]:
    """A service with these settings; told to stop at the end, and its exit code noted."""
    port = free_port()
    mine = {"WHISPER_HOST": "127.0.0.1", "WHISPER_PORT": str(port), **settings}
    others = {name: value for name, value in os.environ.items() if not name.startswith("WHISPER_")}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "whisper_service"],
            env=others | mine, stdout=file, stderr=file, text=True, start_new_session=True,
        )  # fmt: skip
    # Else somebody who ends the script would leave the service behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    service = RunningService(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_until_ready(process, service.url)
        yield service
    finally:
        stop(process)
        service.exit_code = process.wait()


class Memory:
    """MiB of each kind of process, over time: what is its own, not what it shares."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._began = time.monotonic()
        self.minutes: list[float] = []
        self.mib: dict[str, list[float]] = {}
        self.processes: dict[str, int] = {}

    def sample(self) -> None:
        now: dict[str, float] = {}
        count: dict[str, int] = {}
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                kind, own = _kind(process, self._root), process.memory_full_info().uss / _MIB
            except psutil.NoSuchProcess:
                continue
            now[kind] = now.get(kind, 0.0) + own
            count[kind] = count.get(kind, 0) + 1
        for kind in now.keys() | self.mib.keys():
            series = self.mib.setdefault(kind, [0.0] * len(self.minutes))
            series.append(now.get(kind, 0.0))
            self.processes[kind] = max(self.processes.get(kind, 0), count.get(kind, 0))
        self.minutes.append((time.monotonic() - self._began) / 60)


def _kind(process: psutil.Process, root: psutil.Process) -> str:
    if process.pid == root.pid:
        return "server"
    command = " ".join(process.cmdline())
    for mark, kind in {
        "EngineCore": "engine",
        "Worker": "worker",
        "decoding_process": "decoders",
        "resource_tracker": "resource tracker",
    }.items():
        if mark in command:
            return kind
    return "other"
