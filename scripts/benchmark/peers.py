"""The transcribers that are compared, behind one small interface. All have the same weights."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import httpx
import numpy as np
import psutil

from benchmark.speech import Audio
from demo import free_port

_HERE = Path(__file__).parent
_START_SECONDS = 400
# One try each: what a doubted text costs is another question, and most peers know no second try.
ONE_TRY = {"compression_ratio_threshold": "100", "logprob_threshold": "-100"}


class PeerFailedError(RuntimeError):
    """A transcriber could not be started, or ended."""


@dataclass(frozen=True)
class Run:
    """seconds: from the first byte sent to the last text had."""

    seconds: float
    texts: list[str]


class Process:
    """A peer's process group: it is stopped as a whole, and its memory is that of all."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], **options: Any) -> None:
        self.began = time.perf_counter()
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  # closed with the process
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stderr=self._log,
            start_new_session=True,
            text=True,
            **options,
        )

    def memory(self) -> dict[str, float]:
        """MB of all its processes (shared pages counted once), and of the largest alone."""
        tree = [psutil.Process(self.process.pid)]
        tree += tree[0].children(recursive=True)
        sizes = []
        for each in tree:
            try:
                sizes.append(each.memory_full_info().pss / 1e6)
            except psutil.NoSuchProcess:
                continue
        return {"all": round(sum(sizes)), "largest": round(max(sizes)), "processes": len(sizes)}

    def check(self) -> None:
        if self.process.poll() is not None:
            self._log.seek(0)
            raise PeerFailedError(f"{self.process.args!r} ended:\n{self._log.read()[-3000:]}")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within it the paused process runs. Some servers compute while idle."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        self._signal(signal.SIGKILL)  # whatever of its group is left
        self.process.wait()
        self._log.close()


class Peer:
    """One transcriber. `start` it once, and `stop` it."""

    name: str
    ready_seconds: float = 0.0
    process: Process

    def start(self) -> None:
        raise NotImplementedError

    def clips(self, clips: Sequence[Audio]) -> Run:
        """All of them at once."""
        raise NotImplementedError

    def recording(self, audio: Audio) -> Run:
        """One file of any length."""
        raise NotImplementedError

    def stop(self) -> None:
        self.process.stop()


class Server(Peer):
    """One that speaks HTTP; `fields` go with every request."""

    path = "/v1/audio/transcriptions"
    ready_path = "/health"

    def __init__(self, name: str, fields: dict[str, str]) -> None:
        self.name = name
        self.fields = fields
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _wait(self) -> None:
        while time.perf_counter() - self.process.began < _START_SECONDS:
            self.process.check()
            try:
                if httpx.get(self.url + self.ready_path, timeout=2).status_code == httpx.codes.OK:
                    self.ready_seconds = time.perf_counter() - self.process.began
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise PeerFailedError(f"{self.name} was not ready after {_START_SECONDS} s")

    def clips(self, clips: Sequence[Audio], **fields: str) -> Run:
        return asyncio.run(self._together([(each.name, each.wav) for each in clips], fields))

    def recording(self, audio: Audio, **fields: str) -> Run:
        return asyncio.run(self._together([(audio.name, audio.flac)], fields))

    def files(self, files: Sequence[bytes], **fields: str) -> Run:
        return asyncio.run(self._together([("file", each) for each in files], fields))

    async def _together(self, files: Sequence[tuple[str, bytes]], fields: dict[str, str]) -> Run:
        async with httpx.AsyncClient(timeout=1200, limits=httpx.Limits(max_connections=64)) as http:
            began = time.perf_counter()
            texts = await asyncio.gather(*(self._one(http, data, fields) for _, data in files))
            return Run(time.perf_counter() - began, list(texts))

    async def _one(self, http: httpx.AsyncClient, data: bytes, fields: dict[str, str]) -> str:
        response = await http.post(
            self.url + self.path,
            data={**self.fields, **fields},
            files={"file": ("audio.wav", io.BytesIO(data))},
        )
        if response.status_code != httpx.codes.OK:
            raise httpx.HTTPStatusError(response.text, request=response.request, response=response)
        form = {**self.fields, **fields}.get("response_format", "json")
        return str(response.json()["text"]) if "json" in form else response.text

    def first_delta(self, audio: Audio) -> float:
        """Seconds until a stream's first text."""
        files = {"file": ("audio.flac", io.BytesIO(audio.flac))}
        began = time.perf_counter()
        with httpx.stream(
            "POST",
            self.url + self.path,
            data={**self.fields, "stream": "true"},
            files=files,
            timeout=1200,
        ) as response:
            for line in response.iter_lines():
                if _delta(line):
                    return time.perf_counter() - began
        raise PeerFailedError(f"{self.name}: a stream without text")


def _delta(line: str) -> str:
    """The text that a line of a stream carries: an OpenAI transcript event's, or vLLM's chunk's."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return ""
    event = json.loads(line[5:])
    if "choices" in event:
        return str(event["choices"][0]["delta"].get("content") or "") if event["choices"] else ""
    return str(event.get("delta") or "")


class Service(Server):
    """The service of this repository, language not given."""

    ready_path = "/health/ready"

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__("whisper-service", {"model": "whisper-1", **ONE_TRY})
        self._environment = environment

    def start(self) -> None:
        self.process = Process(
            [sys.executable, "-m", "whisper_service"],
            {
                "WHISPER_HOST": "127.0.0.1",
                "WHISPER_PORT": str(self.port),
                "WHISPER_MAX_UPLOAD_BYTES": str(1 << 28),  # an hour without loss
                **self._environment,
            },
            stdout=subprocess.DEVNULL,
        )
        self._wait()


class VllmServer(Server):
    """vLLM's own server, compiled as is its default, told the language."""

    def __init__(self, model: str, arguments: dict[str, Any], environment: dict[str, str]) -> None:
        super().__init__("vLLM's server", {"model": "whisper", "language": "en"})
        self._command = [sys.executable, str(_HERE / "vllm_server.py"), "serve", model]
        self._command += ["--served-model-name", "whisper", "--host", "127.0.0.1"]
        self._command += ["--port", str(self.port)]
        for name, value in arguments.items():
            self._command += [f"--{name.replace('_', '-')}", str(value)]
        self._environment = environment

    def start(self) -> None:
        self.process = Process(self._command, self._environment, stdout=subprocess.DEVNULL)
        self._wait()


@dataclass
class Worker(Peer):
    """A library in a process of its own (`benchmark.worker`)."""

    name: str
    kind: str
    options: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        command = [sys.executable, str(_HERE / "worker.py"), self.kind, json.dumps(self.options)]
        self.process = Process(
            command, self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._answer()
        self.ready_seconds = time.perf_counter() - self.process.began

    def clips(self, clips: Sequence[Audio]) -> Run:
        paths = []
        for number, each in enumerate(clips):
            path = Path(self._scratch.name, f"{number}.npy")
            np.save(path, each.samples)
            paths.append(str(path))
        _stream(self.process.process.stdin).write(json.dumps({"files": paths}) + "\n")
        _stream(self.process.process.stdin).flush()
        answer = self._answer()
        return Run(answer["seconds"], answer["texts"])

    def recording(self, audio: Audio) -> Run:
        return self.clips([audio])

    def stop(self) -> None:
        super().stop()
        self._scratch.cleanup()

    def _answer(self) -> dict[str, Any]:
        line = _stream(self.process.process.stdout).readline()
        if not line:
            time.sleep(0.5)
            self.process.check()
            raise PeerFailedError(f"{self.name} closed its output")
        return dict(json.loads(line))


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the process was started without a pipe")
    return stream


class Pings:
    """How long `/health/live` takes while something else goes on."""

    def __init__(self, url: str, seconds: list[float]) -> None:
        self._url = f"{url}/health/live"
        self._seconds = seconds  # of all pings, and before
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ping, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ping(self) -> None:
        with httpx.Client(timeout=60) as http:
            while not self._over.wait(0.05):
                began = time.perf_counter()
                http.get(self._url).raise_for_status()
                self._seconds.append(time.perf_counter() - began)
