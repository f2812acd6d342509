from __future__ import annotations

import asyncio
import contextvars
import io
import threading
import time
import wave
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pytest

from whisper_service.audio.decode import DecodeLimits
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.domain import SAMPLE_RATE, Samples, Span, SpeechOptions
from whisper_service.errors import Fault, ServiceError
from whisper_service.service.recording import Recording, RecordingReader

from .scripted_engine import window_at

HISS = np.random.default_rng(0).normal(0, 0.001, 70 * SAMPLE_RATE).astype(np.float32)


@pytest.fixture
def reader() -> Iterator[RecordingReader]:
    reader = RecordingReader(DecodeLimits(max_seconds=600, timeout_seconds=60), workers=1)
    yield reader
    reader.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Puts something in place of the decoder; what it returns has arrived by then."""

    def put(decode: Any) -> None:
        def arrive(*arguments: Any) -> Samples:
            *others, arriving = arguments
            try:
                samples: Samples = decode(*others)
                arriving.add(memoryview(samples).cast("B"))
                return samples
            finally:
                arriving.end()

        monkeypatch.setattr(IsolatedDecoder, "decode", staticmethod(arrive))

    return put


async def test_without_voice_detection_everything_is_in_some_window(
    reader: RecordingReader, decoded: Any
) -> None:
    decoded(lambda *_: HISS)
    made = await reader.read(io.BytesIO(), None)
    assert made.duration == 70
    np.testing.assert_array_equal(np.concatenate([each.samples for each in made.windows]), HISS)


async def test_with_it_silence_has_no_window(reader: RecordingReader, decoded: Any) -> None:
    decoded(lambda *_: HISS)
    made = await reader.read(io.BytesIO(), SpeechOptions())
    assert made.duration == 70
    assert made.windows == ()


async def test_an_unreadable_upload_is_told_as_it_is(reader: RecordingReader) -> None:
    with pytest.raises(ServiceError) as refusal:
        await reader.read(io.BytesIO(b"no audio at all"), None)
    assert refusal.value.fault is Fault.UNREADABLE_AUDIO


async def test_cancelling_it_stops_the_work_and_waits_for_that(
    reader: RecordingReader, decoded: Any
) -> None:
    began, ended = threading.Event(), threading.Event()

    def decode(upload: BinaryIO, limits: DecodeLimits, cancelled: Callable[[], bool]) -> Samples:
        began.set()
        while not cancelled():
            time.sleep(0.001)
        time.sleep(0.02)
        ended.set()
        raise ServiceError(Fault.TIMED_OUT, "The request was cancelled.")

    decoded(decode)
    task = asyncio.create_task(reader.read(io.BytesIO(), None))
    await asyncio.to_thread(began.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set(), "the upload may be closed now"


async def test_one_that_waits_for_a_worker_can_be_cancelled_at_once(
    reader: RecordingReader, decoded: Any
) -> None:
    release = threading.Event()

    def decode(*_: Any) -> Samples:
        release.wait(5)
        return HISS

    decoded(decode)
    busy = asyncio.create_task(reader.read(io.BytesIO(), None))
    waiting = asyncio.create_task(reader.read(io.BytesIO(), None))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0.01)
    done = waiting.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await busy).duration == 70
    assert done


async def test_what_is_logged_while_decoding_belongs_to_the_request(
    reader: RecordingReader, decoded: Any
) -> None:
    request = contextvars.ContextVar("request", default="none")
    seen = []

    def decode(*_: Any) -> Samples:
        seen.append(request.get())
        return HISS

    decoded(decode)
    request.set("this one")
    await reader.read(io.BytesIO(), None)
    assert seen == ["this one"]


async def test_its_decoding_processes_are_ready_once_it_has_started() -> None:
    reader = RecordingReader(DecodeLimits(max_seconds=600, timeout_seconds=60), workers=2)
    try:
        await reader.start()
        processes = [worker._process for worker in reader._decoder._workers]
        assert None not in processes
        made = await reader.read(io.BytesIO(speechless_wav()), None)
        assert made.duration == 2
        assert [worker._process for worker in reader._decoder._workers] == processes
    finally:
        reader.close()
    assert all(process.returncode is not None for process in processes if process)


def speechless_wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(bytes(2 * 2 * SAMPLE_RATE))
    return file.getvalue()


def test_all_speech_as_one_window_keeps_every_span() -> None:
    windows = (window_at((0, 10), (20, 30)), window_at((31, 46), (50, 51)))
    speech = Recording(60.0, windows).speech
    assert [(span.start, span.end) for span in speech.spans] == [
        (start * SAMPLE_RATE, end * SAMPLE_RATE)
        for start, end in ((0, 10), (20, 30), (31, 46), (50, 51))
    ]
    assert speech.seconds == 36
    assert speech.samples[-1] == Span(0, 51 * SAMPLE_RATE).end - 1


def test_windows_that_were_cut_for_length_have_no_silence_between_them() -> None:
    windows = (window_at((0, 10), (20, 30)), window_at((30, 60)), window_at((60, 61)))
    speech = Recording(61.0, windows).speech
    assert speech.spans == (Span(0, 10 * SAMPLE_RATE), Span(20 * SAMPLE_RATE, 61 * SAMPLE_RATE))


async def test_without_voice_detection_what_is_loud_is_known(
    reader: RecordingReader, decoded: Any
) -> None:
    """A tone is no voice, and yet its text should not be missing."""
    seconds = np.arange(len(HISS)) / SAMPLE_RATE
    tone = np.where((seconds > 40) & (seconds < 42), 0.1 * np.sin(6000 * seconds), 0)
    decoded(lambda *_: (HISS + tone).astype(np.float32))
    (heard,) = (await reader.read(io.BytesIO(), None)).voiced
    assert heard.start / SAMPLE_RATE == pytest.approx(40, abs=0.1)
    assert heard.end / SAMPLE_RATE == pytest.approx(42, abs=0.1)
    assert (await reader.read(io.BytesIO(), SpeechOptions())).voiced == ()
