from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.whisper.segments import TimedTokens, segment_window

from .byte_level import small_model

VOCABULARY, _ = small_model()
A, B, C = 65, 66, 67


def at(seconds: float) -> int:
    return VOCABULARY.timestamp_begin + round(seconds / 0.02)


def cut(
    tokens: list[int], seconds: float = 30.0
) -> tuple[list[tuple[float, float, list[int]]], float]:
    """Segments as (start, end, text tokens), and how many seconds they cover."""
    window = segment_window(tokens, seconds, VOCABULARY)
    segments = [
        (
            round(each.start, 2),
            round(each.end, 2),
            [t for t in each.tokens if not VOCABULARY.is_timestamp(t)],
        )
        for each in window.segments
    ]
    return segments, window.covered


def test_pairs_of_timestamps_end_segments_and_an_open_tail_is_done_again() -> None:
    tokens = [at(0), A, at(2), at(2), B, at(4), at(5), C]
    segments, covered = cut(tokens)
    assert segments == [(0.0, 2.0, [A]), (2.0, 4.0, [B])]
    assert covered == pytest.approx(4.0)


def test_an_open_tail_can_be_taken_to_last_to_the_end_of_the_window() -> None:
    tokens = [at(0), A, at(2), at(2), B, at(4), at(5), C]
    whole = segment_window(tokens, 6.0, VOCABULARY, to_the_end=True)
    assert [(part.start, part.end) for part in whole.segments] == [(0, 2), (2, 4), (5, 6)]
    assert whole.segments[-1].tokens == (at(5), C)
    assert whole.covered == 6.0


def test_after_a_pair_at_the_end_there_is_no_open_tail() -> None:
    tokens = [at(0), A, at(2), at(2)]
    whole = segment_window(tokens, 6.0, VOCABULARY, to_the_end=True)
    assert [(part.start, part.end) for part in whole.segments] == [(0, 2)]
    assert whole.covered == 6.0


def test_a_window_that_ends_with_a_pair_is_continued_from_there() -> None:
    segments, covered = cut([at(0), A, at(2), at(2), B, at(4), at(4)])
    assert segments == [(0.0, 2.0, [A]), (2.0, 4.0, [B])]
    assert covered == pytest.approx(4.0)


def test_text_and_a_single_timestamp_at_the_end_count_whole() -> None:
    segments, covered = cut([at(0), A, at(2), at(2.5), B, at(6)])
    assert segments == [(0.0, 2.0, [A]), (2.5, 6.0, [B])]
    assert covered == 30.0


def test_one_closed_text_without_a_pair_is_one_segment() -> None:
    assert cut([at(0.5), A, B, at(6)]) == ([(0.5, 6.0, [A, B])], 30.0)


def test_open_text_without_a_pair_lasts_to_the_end_of_the_window() -> None:
    assert cut([at(0.5), A, B], seconds=12.0) == ([(0.5, 12.0, [A, B])], 12.0)


def test_text_without_any_timestamp_is_the_whole_window() -> None:
    assert cut([A, B], seconds=7.0) == ([(0.0, 7.0, [A, B])], 7.0)


@pytest.mark.parametrize("tokens", [[], [at(0)], [at(0.4)]])
def test_no_text_is_no_segment(tokens: list[int]) -> None:
    assert cut(tokens) == ([], 30.0)


def test_no_time_goes_beyond_the_speech() -> None:
    segments, covered = cut([at(0), A, at(2), at(3.2), B, at(4)], seconds=3.0)
    assert segments == [(0.0, 2.0, [A]), (3.0, 3.0, [B])]
    assert covered == 3.0
    segments, covered = cut([at(0), A, at(4), at(4), B], seconds=3.0)
    assert segments == [(0.0, 3.0, [A])]
    assert covered == 3.0


def test_segments_carry_their_timestamps_as_tokens() -> None:
    tokens = [at(0), A, at(2), at(2), B, at(4)]
    window = segment_window(tokens, 30.0, VOCABULARY)
    assert window.segments == (
        TimedTokens(0.0, pytest.approx(2.0), (at(0), A, at(2))),
        TimedTokens(pytest.approx(2.0), pytest.approx(4.0), (at(2), B, at(4))),
    )


def decoded(chance: random.Random) -> list[int]:
    """Tokens as the rules allow them, broken off anywhere."""
    tokens, time = [at(chance.randrange(50) / 50)], 0
    time = tokens[0]
    while time < at(30) and chance.random() < 0.8:
        tokens += [A] * chance.randrange(1, 4)
        time = chance.randint(time + 1, at(30))
        tokens.append(time)
        time = chance.randint(time, at(30))
        tokens.append(time)
    return tokens[: chance.randrange(len(tokens) + 1)]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0), seconds=st.floats(0.1, 30.0))
def test_whatever_is_decoded_segments_are_in_order_and_the_loop_goes_on(
    seed: int, seconds: float
) -> None:
    tokens = decoded(random.Random(seed))
    window = segment_window(tokens, seconds, VOCABULARY)
    assert 0 < window.covered <= seconds
    time = 0.0
    for segment in window.segments:
        assert time <= segment.start <= segment.end <= seconds
        time = segment.end
        assert any(token < VOCABULARY.end_of_text for token in segment.tokens)
    kept = [token for segment in window.segments for token in segment.tokens]
    assert kept == tokens[: len(kept)], "nothing is left out but the end"
