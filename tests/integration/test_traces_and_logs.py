"""A service as an operator of many has it: traces to a collector, JSON lines, two engines.

A server of its own: all three are off by default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.collector import Collector, attributes, running_collector
from tests.conftest import Clip
from tests.integration.conftest import Server, start_server, wait_until_ready

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
OWN_STAGES = {"receive", "decode_queue", "decode", "vad", "queue", "generate", "format"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def observed(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(
        tmp_path_factory.mktemp("observed"),
        WHISPER_TRACES_ENDPOINT=collector.endpoint,
        WHISPER_LOG_FORMAT="json",
        WHISPER_DATA_PARALLEL_SIZE="2",
        WHISPER_MAX_WINDOWS_IN_FLIGHT="2",
    )
    wait_until_ready(server)
    yield server
    if server.process.poll() is None:
        assert server.stop() == 0, server.log.read_text()[-4000:]


@pytest.fixture(scope="module")
def answer(observed: Server, clips: dict[str, Clip]) -> httpx.Response:
    answer = httpx.post(
        f"{observed.url}/v1/audio/transcriptions",
        files={"file": clips["en/quick_brown_fox"].path.read_bytes()},
        data={
            "model": "whisper-1",
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
        },
        headers={"traceparent": TRACEPARENT, "x-request-id": "traced-1"},
        timeout=300,
    )
    assert "fox" in answer.text
    return answer


def test_a_request_is_one_trace_from_the_client_to_the_engine(
    answer: httpx.Response, collector: Collector
) -> None:
    collector.wait_for(lambda: {"llm_request", "POST transcriptions"} <= names(collector))
    spans = {span.name: span for span in collector.trace(TRACE)}
    request = spans["POST transcriptions"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert set(spans) >= OWN_STAGES | {"align", "window", "llm_request"}
    for name in OWN_STAGES | {"window"}:
        assert spans[name].parent_span_id == request.span_id, name
    assert spans["llm_request"].parent_span_id == spans["window"].span_id
    assert attributes(request)["whisper.windows"] == 1


def names(collector: Collector) -> set[str]:
    return {span.name for span in collector.trace(TRACE)}


def test_nothing_that_was_said_is_in_a_span(answer: httpx.Response, collector: Collector) -> None:
    collector.wait_for(lambda: "llm_request" in names(collector))
    told = " ".join(str(attributes(span)) for span in collector.trace(TRACE))
    assert "fox" not in told


def test_the_log_is_json_and_has_one_line_for_the_request(
    answer: httpx.Response, observed: Server
) -> None:
    lines = [
        json.loads(line) for line in observed.log.read_text().splitlines() if line.startswith("{")
    ]
    (line,) = [each for each in lines if each.get("request_id") == "traced-1"]
    assert line["trace_id"] == TRACE
    assert (line["windows"], line["retries"], line["status"]) == (1, 0, 200)
    assert 2 < line["audio_seconds"] < 4
    parts = [line[f"{stage}_seconds"] for stage in OWN_STAGES]
    assert 0 < sum(parts) <= line["seconds"] * 1.01
    assert "fox" not in observed.log.read_text()


def done_by_engine(server: Server) -> dict[str, float]:
    """Requests that each engine has completed, as vLLM counts them."""
    series = r'^vllm:request_success_total\{engine="(\d)",finished_reason="stop",.*\} ([\d.]+)$'
    page = httpx.get(f"{server.url}/metrics").text
    return {engine: float(count) for engine, count in re.findall(series, page, re.MULTILINE)}


def test_both_engines_transcribe(observed: Server, clips: dict[str, Clip]) -> None:
    before = done_by_engine(observed)
    clip, client = clips["en/quick_brown_fox"].path, observed.client()

    def ask(_: int) -> str:
        return client.audio.transcriptions.create(model="whisper-1", file=clip).text

    with ThreadPoolExecutor(6) as together:
        texts = list(together.map(ask, range(6)))
    assert all("fox" in text for text in texts), texts
    after = done_by_engine(observed)
    grown = {engine: after[engine] - before[engine] for engine in after}
    assert set(grown) == {"0", "1"}
    assert min(grown.values()) > 0
    assert sum(grown.values()) == 6


def test_it_says_how_many_engines_and_windows_there_are(observed: Server) -> None:
    page = httpx.get(f"{observed.url}/metrics").text
    (info,) = re.findall(r"^whisper_engine_info\{.*\} 1\.0$", page, re.MULTILINE)
    assert 'engines="2"' in info
    assert 'max_windows="4"' in info
