from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from faster_whisper import transcribe
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.whisper.segments import TimedTokens
from whisper_service.whisper.word_times import (
    SHORTEST_WORD,
    SpokenText,
    estimate_words,
    in_order,
    time_words,
)
from whisper_service.whisper.words import APPENDED, PREPENDED, TokenizedWord

some = settings(max_examples=100, deadline=None)
# Every sum of such times is exact, so a word that is just as long as it may be is so for everybody.
UNIT = 1 / 64  # seconds
steps = st.integers(0, 150)
texts = st.sampled_from([" hello", " you", " I", ".", ",", "?", "-like"])
spoken_words = st.lists(st.tuples(texts, st.integers(1, 3), steps), min_size=1, max_size=6)


def text_of(words: list[tuple[str, int, int]]) -> SpokenText:
    kept = [TokenizedWord(text, tokens) for text, tokens, _ in words]
    return SpokenText(kept, [0.5] * sum(word.tokens for word in kept))


def boundaries_of(segments: list[list[tuple[str, int, int]]]) -> list[float]:
    """Every token of a word begins where the word does, as far as anybody knows."""
    times, now = [], 0
    for words in segments:
        for _, tokens, length in words:
            times += [now * UNIT + length * UNIT * i / tokens for i in range(tokens)]
            now += length
    return [*times, now * UNIT]


def by_the_reference(
    segments: list[TimedTokens], spoken: list[list[tuple[str, int, int]]]
) -> list[dict[str, Any]]:
    """What faster-whisper makes of the same alignment, but for its rounding between two steps."""
    alignment, now, subsegments = [], 0, []
    for segment, words in zip(segments, spoken, strict=True):
        count = 0
        for text, tokens, length in words:
            alignment.append(
                {"word": text, "tokens": [0] * tokens, "start": now * UNIT,
                 "end": (now + length) * UNIT, "probability": 0.5}
            )  # fmt: skip
            now += length
            count += tokens
        subsegments.append(
            {"seek": 0, "start": segment.start, "end": segment.end, "tokens": [0] * count}
        )
    model = SimpleNamespace(
        find_alignment=lambda *_: [alignment], frames_per_second=100, tokens_per_second=50
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcribe, "round", lambda time, digits: time, raising=False)
        transcribe.WhisperModel.add_word_timestamps(
            model, [subsegments], SimpleNamespace(eot=1), None, 3000, PREPENDED, APPENDED, 0.0
        )
    return subsegments


@some
@given(said=st.lists(st.tuples(steps, spoken_words), min_size=1, max_size=3), data=st.data())
def test_times_are_corrected_as_the_reference_corrects_them(
    said: list[tuple[int, list[tuple[str, int, int]]]], data: st.DataObject
) -> None:
    # A segment begins with a word: the reference would join its punctuation to the one before.
    spoken = [[(" so", 1, first), *words] for first, words in said]
    total = sum(length for words in spoken for _, _, length in words)
    cuts = sorted(data.draw(st.lists(st.integers(0, total), min_size=len(spoken) + 1,
                                     max_size=len(spoken) + 1)))  # fmt: skip
    segments = [TimedTokens(a * UNIT, b * UNIT, ()) for a, b in pairwise(cuts)]
    timed = time_words(segments, [text_of(words) for words in spoken], boundaries_of(spoken))
    for ours, theirs in zip(timed, by_the_reference(segments, spoken), strict=True):
        assert ours.words is not None
        # The reference leaves a segment as it was where it clips its outer words; ours has its
        # words' times in either case.
        assert (ours.start, ours.end) == (ours.words[0].start, ours.words[-1].end)
        for word, expected in zip(ours.words, theirs["words"], strict=True):
            assert word.text == expected["word"]
            assert (word.start, word.end) == pytest.approx((expected["start"], expected["end"]))


def test_a_words_probability_is_the_mean_of_its_tokens() -> None:
    text = SpokenText([TokenizedWord(" hello", 2), TokenizedWord(".", 1)], [0.2, 0.6, 0.9])
    (segment,) = time_words([TimedTokens(0, 1, ())], [text], [0.0, 0.2, 0.6, 0.7])
    assert segment.words is not None
    (word,) = segment.words
    assert (word.text, word.probability) == (" hello.", pytest.approx(0.4))
    assert (word.start, word.end) == (0.0, 0.6)


def test_a_segment_without_text_has_no_words_and_keeps_its_times() -> None:
    timed = time_words(
        [TimedTokens(0, 1, ()), TimedTokens(1, 2, ())],
        [SpokenText([], []), SpokenText([TokenizedWord(" a", 1)], [1.0])],
        [1.2, 1.5],
    )
    assert timed[0] == TimedTokens(0, 1, (), ())
    assert timed[1].words is not None
    assert timed[1].words[0].start == 1.2


@some
@given(words=spoken_words, start=st.floats(0, 30), seconds=st.floats(0, 30))
def test_estimated_words_fill_their_segment(
    words: list[tuple[str, int, int]], start: float, seconds: float
) -> None:
    segment = TimedTokens(start, start + seconds, ())
    estimated = estimate_words(segment, text_of(words)).words
    assert estimated is not None
    assert "".join(word.text for word in estimated) == "".join(text for text, _, _ in words)
    times = [time for word in estimated for time in (word.start, word.end)]
    assert times == sorted(times)
    assert start <= times[0]
    assert times[-1] <= start + seconds + 1e-9


seconds = st.floats(0, 1000)


@some
@given(
    times=st.lists(st.tuples(seconds, st.floats(-1, 10)).map(lambda t: (t[0], t[0] + t[1]))),
    earliest=seconds,
)
def test_in_order_no_word_is_of_zero_length_or_overlaps_another(
    times: list[tuple[float, float]], earliest: float
) -> None:
    ordered = in_order(times, earliest)
    assert len(ordered) == len(times)
    last = earliest
    for start, end in ordered:
        assert start >= last
        assert end - start >= SHORTEST_WORD - 1e-9
        last = end


def test_times_that_are_in_order_are_left_alone() -> None:
    times = [(0.5, 0.7), (0.7, 1.0), (1.4, 1.42)]
    assert in_order(times, 0.5) == times
