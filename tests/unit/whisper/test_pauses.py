from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.whisper.pauses import cut_in_pauses, spans_a_pause, where_the_words_are
from whisper_service.whisper.segments import TimedTokens, TimedWord

END_OF_TEXT = 100
A, B, C, BEGIN, END = 1, 2, 3, 101, 102
HELLO, ONE, TWO = (
    TimedWord(" hello", 0.2, 0.8, 0.9, tokens=1),
    TimedWord(" one", 2.4, 2.6, 0.9, tokens=2),
    TimedWord(" two", 2.6, 3.0, 0.9, tokens=1),
)
SEGMENT = TimedTokens(0.0, 4.0, (BEGIN, A, B, B, C, END), (HELLO, ONE, TWO))


def test_words_are_on_the_side_of_the_pause_that_has_their_middles() -> None:
    first, second = cut_in_pauses(SEGMENT, [1.5], END_OF_TEXT)
    assert first == TimedTokens(0.0, 0.8, (BEGIN, A), (HELLO,))
    assert second == TimedTokens(2.4, 4.0, (B, B, C, END), (ONE, TWO))


def test_a_word_that_reaches_over_the_pause_does_not_take_its_part_along() -> None:
    first, second = cut_in_pauses(SEGMENT, [2.45], END_OF_TEXT)
    assert (first.end, second.start) == (0.8, 2.45)


@pytest.mark.parametrize("pauses", [[], [0.1], [3.5], [0.1, 3.5]])
def test_a_pause_with_all_words_on_one_side_cuts_nothing(pauses: list[float]) -> None:
    assert cut_in_pauses(SEGMENT, pauses, END_OF_TEXT) == [SEGMENT]


def test_a_segment_without_words_is_not_cut() -> None:
    segment = TimedTokens(0.0, 4.0, (BEGIN, A, END))
    assert cut_in_pauses(segment, [2.0], END_OF_TEXT) == [segment]


@pytest.mark.parametrize(
    ("pause", "spans"), [(0.9, False), (1.0, False), (1.1, True), (2.9, True), (3.0, False)]
)
def test_bounds_near_a_pause_are_only_inexact(pause: float, spans: bool) -> None:
    assert spans_a_pause(SEGMENT, [pause], margin=1.0) is spans


@settings(max_examples=200, deadline=None)
@given(
    times=st.lists(st.integers(0, 150), min_size=2, max_size=9).map(sorted),
    counts=st.lists(st.integers(0, 3), min_size=9, max_size=9),
    pauses=st.lists(st.integers(0, 150), max_size=3, unique=True).map(sorted),
    marks=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_nothing_of_a_segment_is_lost(
    times: list[int], counts: list[int], pauses: list[int], marks: list[bool]
) -> None:
    words = tuple(
        TimedWord(f" {start}", start / 50, end / 50, 0.5, tokens=count)
        for (start, end), count in zip(pairwise(times), counts, strict=False)
    )
    tokens: list[int] = []
    for text, mark in zip(range(sum(word.tokens for word in words)), marks, strict=False):
        tokens += [BEGIN] * mark + [text]
    segment = TimedTokens(times[0] / 50, times[-1] / 50, (*tokens, END), words)
    parts = cut_in_pauses(segment, [pause / 50 for pause in pauses], END_OF_TEXT)
    assert tuple(token for part in parts for token in part.tokens) == segment.tokens
    assert tuple(word for part in parts for word in part.words or ()) == words
    assert (parts[0].start, parts[-1].end) == (segment.start, segment.end)
    assert all(part.start <= part.end for part in parts)
    for part in parts:
        texts = [token for token in part.tokens if token < END_OF_TEXT]
        assert len(texts) == sum(word.tokens for word in part.words or ())


@pytest.mark.parametrize(
    ("pauses", "bounds"),
    [
        ([], (0.0, 4.0)),
        ([3.5], (0.0, 3.5)),
        ([0.1], (0.1, 4.0)),
        ([0.1, 3.1, 3.5, 9.0], (0.1, 3.1)),
        ([9.0], (0.0, 4.0)),
    ],
)
def test_a_segment_is_where_its_words_are(pauses: list[float], bounds: tuple[float, float]) -> None:
    moved = where_the_words_are(SEGMENT, pauses)
    assert (moved.start, moved.end) == bounds
    assert (moved.tokens, moved.words) == (SEGMENT.tokens, SEGMENT.words)


def test_a_segment_whose_words_are_not_known_stays() -> None:
    segment = replace(SEGMENT, words=None)
    assert where_the_words_are(segment, [3.5]) == segment
