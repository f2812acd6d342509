from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import replace
from typing import Any, BinaryIO

import pytest

from whisper_service.domain import (
    ModelCard,
    SpeechOptions,
    Task,
    Transcript,
    TranscriptionOptions,
)
from whisper_service.engine.requests import Decoding, DecodingRequest, EngineFacts
from whisper_service.errors import Fault, ServiceError
from whisper_service.service.admission import Admission
from whisper_service.service.contract import State
from whisper_service.service.recording import Recording
from whisper_service.service.transcriber import TranscriptionService

from .scripted_engine import (
    DE,
    TOKENIZER,
    VOCABULARY,
    ScriptedEngine,
    length_of,
    said,
    start_of,
    windows_at,
)

CARD = ModelCard("whisper-nano", 0, "openai", {"en": "english"})
FACTS = EngineFacts("m", "float32", "auto", "CPU", "none", "none", 4)
GREEDY = TranscriptionOptions(temperatures=(0.0,))


class Engine(ScriptedEngine):
    """The scripted engine with the life of a real one."""

    is_dead = False
    stopped = False

    async def start(self) -> EngineFacts:
        return FACTS

    async def stop(self) -> None:
        self.stopped = True


class Reader:
    """Gives prepared recordings; what it was asked stays known."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.speech: list[SpeechOptions | None] = []
        self.closed = False

    async def start(self) -> None:
        pass

    async def read(self, upload: BinaryIO, speech: SpeechOptions | None) -> Recording:
        self.speech.append(speech)
        await asyncio.sleep(0)
        return self.recording

    def close(self) -> None:
        self.closed = True


def closed(request: DecodingRequest) -> Decoding:
    return said(0, f" w{round(start_of(request))}", length_of(request))


def service_of(
    engine: Engine | None = None, *starts: float, max_windows: int = 4
) -> tuple[TranscriptionService, Engine, Reader]:
    engine = engine or Engine(closed)
    reader = Reader(Recording(123.0, tuple(windows_at(*starts))))
    service: Any = TranscriptionService(
        engine,  # type: ignore[arg-type]
        reader,  # type: ignore[arg-type]
        VOCABULARY,
        TOKENIZER,
        CARD,
        max_windows=max_windows,
        language_threshold=0.5,
        admission=Admission(windows=100, uploads=100, decoders=2),
    )
    return service, engine, reader


async def transcribe(
    service: TranscriptionService, options: TranscriptionOptions, user: str = "somebody"
) -> Transcript:
    with service.admit(user) as permit:
        return await service.transcribe(io.BytesIO(), options, permit)


async def test_an_upload_becomes_a_transcript() -> None:
    service, _, reader = service_of(None, 0, 30, 60)
    transcript = await transcribe(service, GREEDY)
    assert transcript.text == "w0 w30 w60"
    assert (transcript.task, transcript.language, transcript.duration) == (
        Task.TRANSCRIBE,
        "en",
        123.0,
    )
    assert reader.speech == [GREEDY.speech]


async def test_one_window_after_the_other_where_that_was_asked_for() -> None:
    service, engine, _ = service_of(None, 0, 30, 60)
    options = replace(GREEDY, condition_on_previous_text=True)
    assert (await transcribe(service, options)).text == "w0 w30 w60"
    assert engine.most == 1
    assert engine.asked[2].previous


async def test_a_recording_without_speech_never_reaches_the_engine() -> None:
    service, engine, _ = service_of(None)
    transcript = await transcribe(service, replace(GREEDY, language="de"))
    assert (transcript.text, transcript.language, transcript.duration) == ("", "de", 123.0)
    assert not engine.asked


async def test_a_given_language_is_asked_of_the_engine_and_reported() -> None:
    service, engine, _ = service_of(None, 0, 30)
    transcript = await transcribe(service, replace(GREEDY, language="de"))
    assert {request.language for request in engine.asked} == {DE}
    assert transcript.language == "de"


async def test_a_language_that_the_model_does_not_know_is_refused_before_any_work() -> None:
    service, engine, reader = service_of(None, 0)
    with pytest.raises(ServiceError) as refusal:
        await transcribe(service, replace(GREEDY, language="yue"))
    assert (refusal.value.fault, refusal.value.param) == (Fault.INVALID_VALUE, "language")
    assert not reader.speech
    assert not engine.asked


async def test_requests_share_the_engines_places_in_turn() -> None:
    service, engine, _ = service_of(None, *(30.0 * index for index in range(10)), max_windows=2)
    both = await asyncio.gather(
        *(transcribe(service, replace(GREEDY, language="en")) for _ in range(3))
    )
    assert len({transcript.text for transcript in both}) == 1
    assert engine.most == 2


async def test_a_clip_waits_for_few_windows_of_another_users_long_recordings() -> None:
    """Of fifty recordings of ten windows each, all uploaded before it."""
    service, engine, reader = service_of(None, *(30.0 * index for index in range(10)))
    english = replace(GREEDY, language="en")
    greedy = [asyncio.create_task(transcribe(service, english, "greedy")) for _ in range(50)]
    while len(engine.ended) < 8:  # noqa: ASYNC110 -- no event for it
        await asyncio.sleep(0)
    reader.recording = Recording(5.0, tuple(windows_at(1000.0, seconds=5.0)))
    before = len(engine.ended)
    clip = await transcribe(service, english, "modest")
    assert clip.text == "w1000"
    assert len(engine.ended) - before <= 4 * 4, "four rounds of the engine's four places"
    assert any(not each.done() for each in greedy)
    for each in greedy:
        each.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    assert engine.running == 0


async def test_an_uploads_file_is_closed_once_it_is_decoded() -> None:
    service, engine, _ = service_of(None, 0)
    engine.gates = {0.0: asyncio.Event()}
    upload = io.BytesIO()
    with service.admit("a") as permit:
        request = asyncio.create_task(service.transcribe(upload, GREEDY, permit))
        while not engine.running:  # noqa: ASYNC110 -- no event for it
            await asyncio.sleep(0)
        assert upload.closed
        engine.gates[0.0].set()
        await request


async def test_draining_waits_for_an_upload_that_was_accepted_and_is_still_on_its_way() -> None:
    service, _, _ = service_of(None, 0)
    await service.start()
    permit = service.admit("a")
    draining = asyncio.create_task(service.drain(5))
    await asyncio.sleep(0)
    assert service.state is State.DRAINING
    await service.transcribe(io.BytesIO(), GREEDY, permit)
    assert not draining.done()
    permit.close()
    await draining


async def test_its_life_is_starting_ready_draining() -> None:
    service, engine, reader = service_of()
    assert service.state is State.STARTING
    assert await service.start() is FACTS
    assert service.state is State.READY
    await service.drain(1)
    assert service.state is State.DRAINING
    await service.stop()
    assert engine.stopped
    assert reader.closed


async def test_a_dead_engine_is_told_whatever_the_state() -> None:
    service, engine, _ = service_of()
    await service.start()
    engine.is_dead = True
    assert service.state is State.DEAD
    assert service.engine_is_dead


async def test_when_the_engine_dies_all_are_told_whatever_they_wait_for() -> None:
    service, engine, reader = service_of(None, 0, 30, max_windows=1)
    engine.gates = {0.0: asyncio.Event(), 30.0: asyncio.Event()}
    await service.start()
    generating = [asyncio.create_task(transcribe(service, GREEDY)) for _ in range(3)]
    await asyncio.sleep(0.01)
    never = asyncio.Event()

    async def hang(_: Any, __: Any) -> Any:
        await never.wait()

    reader.read = hang  # type: ignore[method-assign]
    decoding = [asyncio.create_task(transcribe(service, GREEDY)) for _ in range(3)]
    await asyncio.sleep(0.01)
    service.fail_all()
    for outcome in await asyncio.gather(*generating, *decoding, return_exceptions=True):
        assert isinstance(outcome, ServiceError)
        assert outcome.fault is Fault.ENGINE_DEAD
    assert engine.running == 0
    await asyncio.wait_for(service.drain(1), 1)


async def test_draining_waits_for_what_was_accepted() -> None:
    service, engine, _ = service_of(None, 0)
    engine.gates = {0.0: asyncio.Event()}
    await service.start()
    accepted = asyncio.create_task(transcribe(service, GREEDY))
    await asyncio.sleep(0.01)
    draining = asyncio.create_task(service.drain(5))
    await asyncio.sleep(0.01)
    assert not draining.done()
    engine.gates[0.0].set()
    await draining
    assert accepted.done()


async def test_draining_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    service, engine, _ = service_of(None, 0)
    engine.gates = {0.0: asyncio.Event()}
    accepted = asyncio.create_task(transcribe(service, GREEDY))
    await asyncio.sleep(0.01)
    with caplog.at_level(logging.WARNING):
        await service.drain(0.01)
    assert "1 requests were not finished" in caplog.text
    accepted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepted
    assert engine.running == 0


async def test_draining_an_idle_service_takes_no_time_and_complains_of_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service, _, _ = service_of()
    await service.start()
    with caplog.at_level(logging.WARNING):
        await service.drain(0)
    assert not caplog.text


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    service, engine, _ = service_of(None, 0, 30, 60)
    engine.gates = {0.0: asyncio.Event()}
    request = asyncio.create_task(transcribe(service, GREEDY))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert engine.running == 0
    await asyncio.wait_for(service.drain(1), 1)
