"""WHISPER_DATA_PARALLEL_SIZE: two whole engines behind one address, a processor each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import Clip
from tests.integration.conftest import Server, start_server, wait_until_ready

REQUESTS = 6


@pytest.fixture(scope="module")
def two_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(
        tmp_path_factory.mktemp("two_engines"),
        WHISPER_DATA_PARALLEL_SIZE="2",
        WHISPER_MAX_WINDOWS_IN_FLIGHT="2",
    )
    wait_until_ready(server)
    yield server
    if server.process.poll() is None:
        assert server.stop() == 0, server.log.read_text()[-4000:]


def done_by_engine(server: Server) -> dict[str, float]:
    """Requests that each engine has completed, as vLLM counts them."""
    series = r'^vllm:request_success_total\{engine="(\d)",finished_reason="stop",.*\} ([\d.]+)$'
    page = httpx.get(f"{server.url}/metrics").text
    return {engine: float(count) for engine, count in re.findall(series, page, re.MULTILINE)}


def test_windows_are_shared_out_between_the_engines(
    two_engines: Server, clips: dict[str, Clip]
) -> None:
    before = done_by_engine(two_engines)
    clip, client = clips["en/quick_brown_fox"].path, two_engines.client()

    def ask(_: int) -> str:
        return client.audio.transcriptions.create(model="whisper-1", file=clip).text

    with ThreadPoolExecutor(REQUESTS) as together:
        texts = list(together.map(ask, range(REQUESTS)))
    assert all("fox" in text for text in texts), texts
    after = done_by_engine(two_engines)
    grown = {engine: after[engine] - before[engine] for engine in after}
    assert grown == {"0": REQUESTS / 2, "1": REQUESTS / 2}


def test_it_says_how_many_engines_and_windows_there_are(two_engines: Server) -> None:
    page = httpx.get(f"{two_engines.url}/metrics").text
    (info,) = re.findall(r"^whisper_engine_info\{.*\} 1\.0$", page, re.MULTILINE)
    assert 'engines="2"' in info
    assert 'max_windows="4"' in info
