"""Many clients at once, and what the service says that it holds for them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import psutil

from tests.conftest import Clip
from tests.integration.conftest import Server
from tests.integration.test_contract import wav
from tests.integration.test_long_audio import samples_of
from whisper_service.domain import SAMPLE_RATE

HELD = (
    "whisper_windows_running", "whisper_windows_queued", "whisper_windows_accepted",
    "whisper_uploads_held",
)  # fmt: skip
PATIENCE = 120.0  # seconds; for what has to come some time


def speech(clips: dict[str, Clip], seconds: float) -> bytes:
    """A WAV file of so many seconds of sentences with pauses."""
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    names = ("en/quick_brown_fox", "en/hello_world", "en/counting")
    parts = [part for name in names for part in (samples_of(clips[name]), pause)]
    once = np.concatenate(parts)
    return wav(np.resize(once, round(seconds * SAMPLE_RATE)))


def crowd(server: Server) -> httpx.AsyncClient:
    """A client with a connection for everybody."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=server.url, limits=limits, timeout=300)


async def transcribe(client: httpx.AsyncClient, audio: bytes, **fields: str) -> httpx.Response:
    return await client.post(
        "/v1/audio/transcriptions",
        files={"file": ("speech.wav", audio)},
        data={"model": "whisper-1", "language": "en"} | fields,
    )


async def held(client: httpx.AsyncClient) -> dict[str, float]:
    """The windows and uploads that the service counts."""
    text = (await client.get("/metrics")).text
    found = {name: re.search(rf"^{name} (\S+)$", text, re.MULTILINE) for name in HELD}
    return {name: float(match[1]) for name, match in found.items() if match}


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> float:
    """The seconds that it took."""
    began = time.monotonic()
    while not await condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def processes(server: Server) -> list[psutil.Process]:
    """The server's process first, then all below it."""
    root = psutil.Process(server.process.pid)
    return [root, *root.children(recursive=True)]


def is_engine(process: psutil.Process) -> bool:
    """Whether it is the one that vLLM runs its engine in."""
    try:
        return "EngineCore" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
