from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.whisper.byte_level import small_english_model
from whisper_service.domain import SAMPLE_RATE, TranscriptionOptions, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.requests import Decoding, DecodingRequest
from whisper_service.service.fair_slots import FairSlots
from whisper_service.service.parallel import Piece
from whisper_service.service.sequential import SequentialTranscription
from whisper_service.service.window_decoder import DecodedWindow
from whisper_service.whisper.segments import SegmentedWindow, TimedWord

from .scripted_engine import (
    DE,
    EN,
    TOKENIZER,
    VOCABULARY,
    Answer,
    ScriptedEngine,
    decoder_for,
    length_of,
    said,
    start_of,
    texts,
    tokens_of,
    window_at,
)


async def run(
    engine: ScriptedEngine,
    speech: Window,
    language: int = EN,
    options: TranscriptionOptions | None = None,
) -> list[Piece]:
    sequential = SequentialTranscription(decoder_for(engine, options), VOCABULARY, FairSlots(1))
    return await sequential.run(speech, language)


def whole(request: DecodingRequest) -> Decoding:
    return said(0, f" w{round(start_of(request))}", length_of(request))


async def test_each_window_begins_where_the_text_before_it_ended() -> None:
    def answer(request: DecodingRequest) -> Decoding:
        return said(0, " hello", 20, 20, " w") if length_of(request) == 30 else whole(request)

    engine = ScriptedEngine(answer)
    await run(engine, window_at((0, 75)))
    assert [(start_of(one), length_of(one)) for one in engine.asked] == [
        (0, 30),
        (20, 30),
        (40, 30),
        (60, 15),
    ]
    for request in engine.asked:
        first = round(start_of(request) * SAMPLE_RATE)
        last = first + len(request.samples)
        np.testing.assert_array_equal(request.samples, np.arange(first, last, dtype=np.float32))


async def test_a_window_reaches_over_the_seams_of_packed_speech() -> None:
    engine = ScriptedEngine(whole)
    pieces = await run(engine, window_at((10, 30), (100, 125)))
    spans = [
        [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in decoded.window.spans]
        for decoded, _ in pieces
    ]
    assert spans == [[(10, 30), (100, 110)], [(110, 125)]]


async def test_what_was_said_before_is_told_with_its_timestamps() -> None:
    engine = ScriptedEngine(whole)
    await run(engine, window_at((0, 90)))
    assert [request.previous for request in engine.asked] == [
        (),
        tokens_of(0, " w0", 30),
        tokens_of(0, " w0", 30, 0, " w30", 30),
    ]


async def test_only_what_counts_as_text_is_told() -> None:
    def answer(request: DecodingRequest) -> Decoding:
        return said(0, " hello", 20, 20, " open") if start_of(request) == 0 else whole(request)

    engine = ScriptedEngine(answer)
    await run(engine, window_at((0, 50)))
    assert engine.asked[1].previous == tokens_of(0, " hello", 20)


async def test_the_callers_prompt_comes_first() -> None:
    engine = ScriptedEngine(whole)
    options = TranscriptionOptions(prompt="Names: Ann", temperatures=(0.0,))
    await run(engine, window_at((0, 60)), options=options)
    prompt = tuple(TOKENIZER.encode(" Names: Ann"))
    assert engine.asked[0].previous == prompt
    assert engine.asked[1].previous == prompt + tokens_of(0, " w0", 30)


@pytest.mark.parametrize(("temperature", "kept"), [(0.0, True), (0.4, True), (0.6, False)])
async def test_a_text_that_needed_chance_does_not_lead_the_next_astray(
    temperature: float, kept: bool
) -> None:
    def answer(request: DecodingRequest) -> Decoding:
        doubtful = start_of(request) == 30 and request.temperature < temperature
        return said(0, " hm", 30, logprob=-2.0) if doubtful else whole(request)

    engine = ScriptedEngine(answer)
    await run(engine, window_at((0, 90)), options=TranscriptionOptions(prompt="Ann"))
    last = engine.asked[-1]
    assert start_of(last) == 60
    assert bool(last.previous) is kept


async def test_a_text_that_no_try_could_mend_does_not_lead_the_next_astray() -> None:
    def answer(request: DecodingRequest) -> Decoding:
        # The coolest try is the best of them: it is kept, and is a loop all the same.
        loop = start_of(request) == 0
        logprob = -0.1 - request.temperature if loop else -0.1
        return said(0, " w" * 60 if loop else " w", length_of(request), logprob=logprob)

    engine = ScriptedEngine(answer)
    pieces = await run(engine, window_at((0, 60)))
    assert [decoded.decoding.temperature for decoded, _ in pieces] == [0, 0]
    assert engine.asked[-1].previous == ()


async def test_silence_is_skipped_and_not_told() -> None:
    def answer(request: DecodingRequest) -> Decoding:
        if start_of(request) == 30:
            return said(0, " thanks", 1, 1, " for", no_speech=0.9, logprob=-1.5)
        return whole(request)

    engine = ScriptedEngine(answer)
    pieces = await run(engine, window_at((0, 90)))
    assert [start_of(request) for request in engine.asked] == [0, 30, 60]
    assert [decoded.silent for decoded, _ in pieces] == [False, True, False]
    told = tokens_of(0, " w0", 30)
    assert [request.previous for request in engine.asked] == [(), told, told]


async def test_a_loop_that_no_try_could_mend_is_left_by_halving_its_window() -> None:
    """What is said behind it would be lost with the window."""

    def answer(request: DecodingRequest) -> Decoding:
        if length_of(request) > 8:
            return said(0, " w" * 60, finished=False, looped=True)
        return whole(request)

    engine = ScriptedEngine(answer)
    pieces = await run(engine, window_at((0, 30)))
    windows = [decoded.window for decoded, _ in pieces]
    assert sum(window.seconds for window in windows) == pytest.approx(30)
    assert all(window.seconds <= 8 for window in windows)


class TestWordTimes:
    """Where a window's text does not tell its end, its last word does, if its time is known."""

    @staticmethod
    async def starts(*parts: float | str) -> list[float]:
        """Where each window starts; the first one's text is this, and its last word ends at 17."""

        async def align(decoded: DecodedWindow, segmented: SegmentedWindow) -> SegmentedWindow:
            *others, last = segmented.segments
            words = (TimedWord(" w", 16.0, 17.0, 0.9),)
            return replace(segmented, segments=(*others, replace(last, words=words)))

        first = said(*parts)
        engine = ScriptedEngine(lambda each: first if start_of(each) == 0 else whole(each))
        sequential = SequentialTranscription(
            decoder_for(engine), VOCABULARY, FairSlots(1), align=align
        )
        await sequential.run(window_at((0, 30)), EN)
        return [start_of(request) for request in engine.asked][:2]

    async def test_of_an_open_text(self) -> None:
        assert await self.starts(0, " hello") == [0, 17]

    async def test_of_an_open_text_after_a_closed_segment(self) -> None:
        assert await self.starts(0, " hello", 18, 18, " w") == [0, 17]

    async def test_of_a_text_that_ends_with_its_time_nothing_is_heard_again(self) -> None:
        assert await self.starts(0, " hello", 18) == [0]


async def test_the_first_window_with_speech_decides_the_language() -> None:
    def answer(request: DecodingRequest) -> Decoding:
        if start_of(request) == 0:
            return said(0, " thanks", 30, no_speech=0.9, logprob=-1.5, language=EN)
        language = DE if request.language == NO_TOKEN else NO_TOKEN
        return said(0, f" w{round(start_of(request))}", length_of(request), language=language)

    engine = ScriptedEngine(answer)
    await run(engine, window_at((0, 120)), language=NO_TOKEN)
    assert [request.language for request in engine.asked] == [NO_TOKEN, NO_TOKEN, DE, DE]


async def test_an_english_only_model_has_no_language_to_follow() -> None:
    model = small_english_model()
    token = model[1].encode(" hello")[0]
    engine = ScriptedEngine(
        lambda _: Decoding((token,), (-0.1, -0.1), NO_TOKEN, 1.0, 0.0, 0.0, True, False),  # noqa: FBT003
        default_language=NO_TOKEN,
    )
    sequential = SequentialTranscription(decoder_for(engine, model=model), model[0], FairSlots(1))
    await sequential.run(window_at((0, 60)), NO_TOKEN)
    assert [request.language for request in engine.asked] == [NO_TOKEN] * 2


async def test_a_rest_too_short_for_speech_is_left() -> None:
    engine = ScriptedEngine(whole)
    assert texts(await run(engine, window_at((0, 30.05)))) == [" w0"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: said(0, " a", 0.02, 0.02, " b"),
        lambda _: said(),
        lambda _: said(0),
        lambda _: said(0, " w", finished=False),
    ],
    ids=["tiny steps", "nothing", "a timestamp", "cut off"],
)
async def test_it_always_comes_to_an_end(answer: Answer) -> None:
    engine = ScriptedEngine(answer)
    await asyncio.wait_for(run(engine, window_at((0, 3))), 20)
    assert len(engine.asked) <= 150


async def test_cancelling_it_leaves_nothing_running() -> None:
    engine = ScriptedEngine(whole)
    engine.gates = {30.0: asyncio.Event()}
    slots = FairSlots(1)
    sequential = SequentialTranscription(decoder_for(engine), VOCABULARY, slots)
    task = asyncio.create_task(sequential.run(window_at((0, 90)), EN))
    await asyncio.sleep(0.01)
    assert slots.running == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (engine.running, slots.running, slots.queued) == (0, 0, 0)
