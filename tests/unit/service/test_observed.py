"""What a request leaves behind: numbers in its record and on /metrics, a span for each window."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from tests.collector import attributes, running_collector
from whisper_service.domain import TranscriptionOptions
from whisper_service.engine.requests import Decoding, DecodingRequest
from whisper_service.service.fair_slots import FairSlots
from whisper_service.service.timed_slots import TimedSlots
from whisper_service.telemetry.record import RequestRecord, Stage, recording
from whisper_service.telemetry.tracing import configure_tracing, start_request_span, stop_tracing

from .scripted_engine import length_of, said
from .test_transcriber import GREEDY, Engine, closed, service_of, transcribe

Growth = Callable[..., float]


@pytest.fixture
def growth() -> Growth:
    """How much a series has grown since the test began."""

    def value(name: str, labels: dict[str, str]) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
    }

    def since(name: str, **labels: str) -> float:
        return value(name, labels) - before.get((name, frozenset(labels.items())), 0.0)

    return since


async def observed(options: TranscriptionOptions, engine: Engine, *starts: float) -> RequestRecord:
    service, _, _ = service_of(engine, *starts)
    record = RequestRecord()
    with recording(record):
        await transcribe(service, options)
    return record


async def test_the_record_has_audio_windows_and_stages(growth: Growth) -> None:
    record = await observed(GREEDY, Engine(closed), 0, 30, 60)
    assert (record.audio_seconds, record.windows, record.retries) == (123.0, 3, 0)
    assert set(record.stages) == {Stage.DECODE_QUEUE, Stage.QUEUE, Stage.GENERATE}
    assert growth("whisper_audio_received_seconds_total", task="transcribe") == 123.0
    assert growth("whisper_audio_speech_seconds_total", task="transcribe") == 90.0
    assert growth("whisper_windows_total", outcome="text") == 3
    assert growth("whisper_window_wait_seconds_count") == 3
    assert growth("whisper_window_duration_seconds_count") == 3


async def test_retries_are_counted_by_their_reason(growth: Growth) -> None:
    def doubted_at_first(request: DecodingRequest) -> Decoding:
        logprob = -2.0 if request.temperature == 0 else -0.2
        return said(0, " word", length_of(request), logprob=logprob)

    options = replace(GREEDY, temperatures=(0.0, 0.2))
    record = await observed(options, Engine(doubted_at_first), 0)
    assert (record.windows, record.retries) == (1, 1)
    assert growth("whisper_window_retries_total", reason="logprob") == 1
    assert growth("whisper_windows_total", outcome="text") == 1


async def test_silence_is_counted_apart(growth: Growth) -> None:
    def silence(request: DecodingRequest) -> Decoding:
        return said(0, " thanks", length_of(request), no_speech=0.9, logprob=-2.0)

    record = await observed(replace(GREEDY, language="en"), Engine(silence), 0, 30)
    assert (record.windows, record.silent) == (2, 2)
    assert growth("whisper_windows_total", outcome="silence") == 2


async def test_each_window_is_a_span_whose_context_the_engine_gets() -> None:
    with running_collector() as collector:
        configure_tracing(collector.endpoint)
        engine = Engine(closed)
        service, _, _ = service_of(engine, 0, 30)
        record = RequestRecord(span=start_request_span("POST", {}))
        with recording(record):
            await transcribe(service, GREEDY)
        record.span.end()
        await asyncio.to_thread(stop_tracing)
    windows = [span for _, span in collector.received if span.name == "window"]
    assert [attributes(span)["whisper.outcome"] for span in windows] == ["text", "text"]
    given = {str(request.trace_headers["traceparent"]).split("-")[2] for request in engine.asked}  # type: ignore[index]
    assert given == {span.span_id.hex() for span in windows}


async def test_untraced_requests_give_the_engine_no_headers() -> None:
    engine = Engine(closed)
    await observed(GREEDY, engine, 0)
    assert [request.trace_headers for request in engine.asked] == [None]


async def test_a_request_queues_until_its_first_window_has_a_place() -> None:
    slots, record = FairSlots(1), RequestRecord()

    async def ask() -> None:
        with recording(record), TimedSlots(slots) as timed:
            for _ in range(2):
                async with timed.slot("mine"):
                    pass

    async with slots.slot("others"):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.05)
    await asking
    assert record.stages[Stage.QUEUE] >= 0.05
    assert record.stages[Stage.GENERATE] < record.stages[Stage.QUEUE]


async def test_a_request_that_never_gets_a_place_has_queued_to_its_end() -> None:
    slots, record = FairSlots(1), RequestRecord()

    async def ask() -> None:
        with recording(record), TimedSlots(slots) as timed:
            async with timed.slot("mine"):
                pass

    async with slots.slot("others"):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert set(record.stages) == {Stage.QUEUE}
