"""Words of decoded windows, from the engine's answer to the transcript."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.domain import (
    SAMPLE_RATE,
    Segment,
    Span,
    Task,
    TranscriptionOptions,
    Window,
    Word,
)
from whisper_service.engine.aligner import AlignmentError, AlignmentRequest
from whisper_service.engine.requests import Decoding, DecodingRequest
from whisper_service.errors import Fault, ServiceError
from whisper_service.metrics import ALIGNMENTS
from whisper_service.service.assemble import Assembler
from whisper_service.service.fair_slots import FairSlots
from whisper_service.service.parallel import ParallelTranscription, Piece
from whisper_service.service.sequential import SequentialTranscription
from whisper_service.service.word_aligner import WordAligner

from .scripted_engine import (
    EN,
    TOKENIZER,
    VOCABULARY,
    ScriptedEngine,
    decoder_for,
    said,
    start_of,
    window_at,
    windows_at,
)

WORDS = TranscriptionOptions(temperatures=(0.0,), words=True)
PLAIN = replace(WORDS, words=False)


def evenly(request: AlignmentRequest) -> tuple[float, ...]:
    """Each token takes as long as any other."""
    seconds = len(request.samples) / SAMPLE_RATE
    count = len(request.tokens)
    return tuple(seconds * index / count for index in range(count + 1))


async def run(
    engine: ScriptedEngine,
    windows: Sequence[Window],
    options: TranscriptionOptions = WORDS,
    voiced: Sequence[Span] = (),
) -> list[Piece]:
    aligner = WordAligner(engine, VOCABULARY, TOKENIZER)  # type: ignore[arg-type]
    align = aligner.align_for(options, voiced)
    at_once = ParallelTranscription(
        decoder_for(engine, options), VOCABULARY, FairSlots(4), 0.5, align=align
    )
    return await at_once.run(windows, EN, voiced)


def segments_of(pieces: Sequence[Piece], voiced: Sequence[Span] = ()) -> tuple[Segment, ...]:
    assembly = Assembler(VOCABULARY, TOKENIZER).begin(voiced)
    for piece in pieces:
        assembly.add(piece)
    return assembly.transcript(
        task=Task.TRANSCRIBE, language="en", duration=90, logprobs=False
    ).segments


def words_of(segments: Sequence[Segment]) -> list[Word]:
    return [word for segment in segments for word in segment.words or ()]


def check(segments: Sequence[Segment]) -> None:
    """What is promised of words, whatever the engine says."""
    last = 0.0
    for segment in segments:
        assert segment.words
        assert "".join(word.word for word in segment.words) == segment.text
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end
        for word in segment.words:
            assert round(word.start, 3) >= round(last, 3)
            assert round(word.end, 3) > round(word.start, 3)
            last = word.end


async def test_every_windows_words_are_timed_in_the_files_time() -> None:
    engine = ScriptedEngine(lambda _: said(0, " hello hello", 1.0), aligns=evenly)
    segments = segments_of(await run(engine, windows_at(0, 40, seconds=1)))
    check(segments)
    times = [(word.word, round(word.start, 2), round(word.end, 2)) for word in words_of(segments)]
    assert times == [
        (" hello", 0.0, 0.5), (" hello", 0.5, 1.0), (" hello", 40.0, 40.5), (" hello", 40.5, 41.0)
    ]  # fmt: skip
    assert [request.language for request in engine.aligned] == [EN, EN]
    assert {request.key for request in engine.aligned} == {one.key for one in engine.asked}
    assert all(request.keep for request in engine.asked)


async def test_nobody_pays_for_words_that_were_not_asked_for() -> None:
    engine = ScriptedEngine(lambda _: said(0, " hello", 10.0))
    pieces = await run(engine, windows_at(0, 40, seconds=10), PLAIN)
    assert [segment.words for segment in segments_of(pieces)] == [None, None]
    assert not any(request.keep for request in engine.asked)


# The first span's speech ends at 11 s, the second's begins at 70.8 s, a second later in the window.
ACROSS = window_at((10.0, 11.5), (70.0, 72.0))


@pytest.mark.parametrize("options", [WORDS, PLAIN], ids=["words", "plain"])
async def test_a_segment_is_cut_in_a_silence_that_was_taken_out(
    options: TranscriptionOptions,
) -> None:
    voiced = [Span(160_000, 176_000), Span(1_132_800, 1_152_000)]
    engine = ScriptedEngine(
        lambda _: said(0, " hello" * 4 + " w", 3.5),
        aligns=lambda _: (0.0, 0.3, 0.5, 0.8, 1.0, 3.0),
    )
    pieces = await run(engine, [ACROSS], options, voiced)
    first, second = segments_of(pieces, voiced)
    assert (first.text, second.text) == (" hello" * 4, " w")
    assert (first.start, first.end, second.start) == (10.0, 11.0, 70.8)
    assert [bool(segment.words) for segment in (first, second)] == [options.words] * 2
    assert len(engine.aligned) == 1


async def test_a_segment_that_ends_in_what_is_left_of_a_silence_is_not_aligned() -> None:
    """So Whisper rounds; padding of 0.3 s and half a second of silence are no speech."""
    engine = ScriptedEngine(lambda _: said(0, " hello", 2.4, 2.4, " w", 3.5))
    first, second = segments_of(await run(engine, [ACROSS], PLAIN))
    assert (first.text, second.text) == (" hello", " w")


# Somebody speaks from 10.3 to 10.7 s, and from 70.8 to 72 s: from 2.3 s of the window on.
SPEECH = (Span(164_800, 171_200), Span(1_132_800, 1_152_000))


@pytest.mark.parametrize("end", [2.52, 2.6, 3.0])
async def test_a_segment_that_ends_just_behind_a_silence_is_cut_by_its_words(end: float) -> None:
    """It has the first words of the second sentence, a little of whose speech is in its time."""
    engine = ScriptedEngine(
        lambda _: said(0, " hello w", end, end, " hello", 3.5),
        aligns=lambda _: (0.3, 1.0, 2.6, 3.0),
    )
    first, second, third = segments_of(await run(engine, [ACROSS], PLAIN, SPEECH), SPEECH)
    assert (first.text, second.text, third.text) == (" hello", " w", " hello")
    assert (first.start, first.end) == (10.3, 10.7)
    assert second.start == pytest.approx(70.8, abs=0.01)
    assert engine.aligned


async def test_a_segment_that_ends_before_what_it_says_is_cut_by_its_words() -> None:
    """It ends in the silence; yet until the next one begins, somebody speaks."""
    engine = ScriptedEngine(
        lambda _: said(0, " hello w", 2.2, 3.0, " hello", 3.5),
        aligns=lambda _: (0.3, 1.0, 2.6, 3.0),
    )
    first, second, third = segments_of(await run(engine, [ACROSS], PLAIN, SPEECH), SPEECH)
    assert (first.text, second.text, third.text) == (" hello", " w", " hello")
    assert (first.start, first.end) == (10.3, 10.7)
    assert second.start == pytest.approx(70.8, abs=0.01)


@pytest.mark.parametrize("end", [2.52, 3.0])
async def test_a_segment_with_all_words_before_a_silence_ends_there(end: float) -> None:
    engine = ScriptedEngine(
        lambda _: said(0, " hello", end, end, " w", 3.5), aligns=lambda _: (0.3, 1.0, 3.0)
    )
    first, second = segments_of(await run(engine, [ACROSS], PLAIN, SPEECH), SPEECH)
    assert (first.text, first.start, first.end) == (" hello", 10.3, 10.7)
    assert second.text == " w"
    assert second.start >= 70.8


@pytest.mark.parametrize("end", [0.7, 1.4, 1.6, 2.3, 2.48])
async def test_a_segment_whose_time_holds_one_sides_speech_only_is_not_aligned(end: float) -> None:
    engine = ScriptedEngine(lambda _: said(0, " hello", end, end, " w", 3.5))
    first, second = segments_of(await run(engine, [ACROSS], PLAIN, SPEECH), SPEECH)
    assert (first.start, first.end) == (10.3, 10.7)
    assert second.start >= 70.8
    assert not engine.aligned


@pytest.mark.parametrize("options", [WORDS, PLAIN], ids=["words", "plain"])
async def test_speech_behind_a_silence_whose_words_are_all_before_it_is_heard_again(
    options: TranscriptionOptions,
) -> None:
    """Whisper gave one sentence the time of two."""

    def answer(request: DecodingRequest) -> Decoding:
        return said(0, " hello", 3.5) if start_of(request) == 10 else said(0.8, " w", 2.0)

    engine = ScriptedEngine(
        answer, aligns=lambda request: (0.3, 1.0) if start_of(request) == 10 else (0.8, 1.5)
    )
    first, second = segments_of(await run(engine, [ACROSS], options, SPEECH), SPEECH)
    assert (first.text, second.text) == (" hello", " w")
    assert (first.end, second.start) == (10.7, 70.8)


async def test_logprobs_stay_with_the_text_of_their_part() -> None:
    decoding = said(0, " hello w", 3.5)
    logprobs = (-9.0, -0.5, -1.0, -9.0, -9.0)
    engine = ScriptedEngine(
        lambda _: replace(decoding, logprobs=logprobs), aligns=lambda _: (0.0, 1.0, 3.0)
    )
    assembly = Assembler(VOCABULARY, TOKENIZER).begin(())
    (piece,) = await run(engine, [ACROSS], PLAIN)
    spoken = [
        (each.segment.text, [one.logprob for one in each.logprobs]) for each in assembly.add(piece)
    ]
    assert spoken == [(" hello", [-0.5]), (" w", [-1.0])]


async def test_a_word_is_on_one_side_of_a_silence_that_was_taken_out() -> None:
    """The second token begins in the first span and ends in the second, a minute later."""
    window = window_at((10.0, 11.0), (70.0, 71.0))
    engine = ScriptedEngine(
        lambda _: said(0, " hello hello hello", 2.0), aligns=lambda _: (0.0, 0.6, 1.2, 1.8)
    )
    segments = segments_of(await run(engine, [window]))
    check(segments)
    times = [(round(word.start, 2), round(word.end, 2)) for word in words_of(segments)]
    assert times == [(10.0, 10.6), (10.6, 11.0), (70.2, 70.8)]


async def test_silence_inside_a_words_time_is_not_counted() -> None:
    voiced = [Span(SAMPLE_RATE // 4, SAMPLE_RATE // 2)]
    engine = ScriptedEngine(lambda _: said(0, " hello", 1.0), aligns=lambda _: (0.0, 0.7))
    segments = segments_of(await run(engine, windows_at(0, seconds=1)), voiced)
    assert (segments[0].start, segments[0].end) == (0.25, 0.5)


async def test_an_engine_that_cannot_align_costs_exactness_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ScriptedEngine(
        lambda _: said(1.0, " hello hello", 5.0, 5.0, " w", 8.0),
        aligns=lambda _: AlignmentError("worker failed"),
    )
    before = ALIGNMENTS.labels("estimated")._value.get()
    with caplog.at_level(logging.WARNING):
        segments = segments_of(await run(engine, windows_at(0, seconds=10)))
    check(segments)
    times = [(round(word.start, 2), round(word.end, 2)) for word in words_of(segments)]
    assert times == [(1.0, 3.0), (3.0, 5.0), (5.0, 8.0)]
    assert "worker failed" in caplog.text
    assert ALIGNMENTS.labels("estimated")._value.get() == before + 1


async def test_a_dead_engine_is_no_estimate() -> None:
    engine = ScriptedEngine(
        lambda _: said(0, " hello", 10.0),
        aligns=lambda _: ServiceError(Fault.ENGINE_DEAD, "dead"),
    )
    with pytest.raises(ServiceError, match="dead"):
        await run(engine, windows_at(0, seconds=10))


@pytest.mark.parametrize(
    "answer", [said(0.5), said(), said(0, " hello", 10.0, no_speech=0.9, logprob=-2)]
)
async def test_a_window_without_text_or_speech_is_not_aligned(answer: Decoding) -> None:
    engine = ScriptedEngine(lambda _: answer)
    pieces = await run(engine, windows_at(0, seconds=10))
    assert segments_of(pieces) == ()
    assert engine.aligned == []


async def test_words_probabilities_are_those_of_their_decoded_tokens() -> None:
    decoding = said(0, " hello w", 10.0)
    logprobs = (-9.0, -0.5, -1.0, -9.0, -9.0)
    assert len(decoding.tokens) + 1 == len(logprobs)
    engine = ScriptedEngine(lambda _: replace(decoding, logprobs=logprobs), aligns=evenly)
    words = words_of(segments_of(await run(engine, windows_at(0, seconds=10))))
    assert [word.probability for word in words] == pytest.approx([0.60653, 0.36788], abs=1e-4)


async def test_one_by_one_windows_have_words_too() -> None:
    engine = ScriptedEngine(lambda _: said(0, " hello", 10.0, 10.0), aligns=evenly)
    align = WordAligner(engine, VOCABULARY, TOKENIZER).align_for(WORDS)  # type: ignore[arg-type]
    one_by_one = SequentialTranscription(
        decoder_for(engine, WORDS), VOCABULARY, FairSlots(4), align=align
    )
    pieces = await one_by_one.run(window_at((0, 40)), EN)
    check(segments_of(pieces))
    assert len(engine.aligned) == len(pieces) > 1


async def test_made_up_text_is_left_out_and_what_follows_is_heard_again() -> None:
    def answer(request: DecodingRequest) -> Decoding:
        if start_of(request) == 0:
            made_up = said(0, " hello", 2.0, 12.0, " w", 12.5)
            assert len(made_up.tokens) == 6
            return replace(made_up, logprobs=(-0.1, -0.1, -0.1, -0.1, -6.0, -0.1, -0.1))
        return said(6.0, " hello", 9.0)

    def align(request: AlignmentRequest) -> tuple[float, ...]:
        return (0.5, 1.0, 12.5) if len(request.tokens) == 2 else (6.5, 7.0)

    engine = ScriptedEngine(answer, aligns=align)
    options = replace(WORDS, hallucination_silence_seconds=2.0)
    segments = segments_of(await run(engine, windows_at(0, seconds=25), options))
    assert [segment.text for segment in segments] == [" hello", " hello"]
    assert len(engine.asked) == 2


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 1500), min_size=2, max_size=12),
    seams=st.lists(st.integers(1, 29), max_size=3, unique=True),
    pause=st.floats(0.001, 100),
)
async def test_whatever_the_engine_says_words_are_in_order_and_the_text(
    cuts: list[int], seams: list[int], pause: float
) -> None:
    boundaries = tuple(cut / 50 for cut in sorted(cuts))
    text = " hello" * (len(boundaries) - 1)
    bounds = [0, *sorted(seams), 30]
    spans = [(a + pause * i, b + pause * i) for i, (a, b) in enumerate(pairwise(bounds))]
    engine = ScriptedEngine(
        lambda _: said(0, text, 30.0), aligns=lambda request: boundaries[: len(request.tokens) + 1]
    )
    segments = segments_of(await run(engine, [window_at(*spans)]))
    check(segments)
    assert "".join(word.word for word in words_of(segments)) == text
