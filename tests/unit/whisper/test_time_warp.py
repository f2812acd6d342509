from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisper_service.whisper.time_warp import first_frames

some = settings(max_examples=60, deadline=None)
sizes = st.tuples(st.integers(1, 6), st.integers(1, 9))


def first_frames_slowly(similarity: NDArray[np.float32]) -> list[int]:
    """By its definition: of all monotonic paths the cheapest, found by recursion."""

    @cache
    def best(token: int, frame: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        own = -float(similarity[token, frame])
        if (token, frame) == (0, 0):
            return own, ((0, 0),)
        before = [(token - 1, frame - 1), (token - 1, frame), (token, frame - 1)]
        cost, path = min(best(*each) for each in before if min(each) >= 0)
        return cost + own, (*path, (token, frame))

    tokens, frames = similarity.shape
    _, path = best(tokens - 1, frames - 1)
    return [min(frame for token, frame in path if token == row) for row in range(tokens)]


@some
@given(size=sizes, seed=st.integers(0, 2**32 - 1))
def test_it_is_the_cheapest_of_all_monotonic_paths(size: tuple[int, int], seed: int) -> None:
    similarity = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    assert first_frames(similarity).tolist() == first_frames_slowly(similarity)


@some
@given(size=sizes, value=st.floats(-3, 3, width=16))
def test_where_all_is_alike_there_still_is_a_path(size: tuple[int, int], value: float) -> None:
    firsts = first_frames(np.full(size, value, np.float32))
    assert firsts[0] == 0
    assert (np.diff(firsts) >= 0).all()
    assert firsts[-1] < size[1]


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (225, 1500), (225, 3), (2, 1500)])
def test_tokens_that_look_at_their_own_frames_begin_there(tokens: int, frames: int) -> None:
    begins = np.linspace(0, frames, tokens, endpoint=False).astype(int)
    similarity = np.full((tokens, frames), -1, np.float32)
    for token, begin in enumerate(begins):
        end = begins[token + 1] if token + 1 < tokens else frames
        similarity[token, begin : max(end, begin + 1)] = 1
    firsts = first_frames(similarity)
    assert (np.diff(firsts) >= 0).all()
    if frames >= tokens:
        assert firsts.tolist() == begins.tolist()


def test_it_is_compiled_and_lets_other_threads_run() -> None:
    first_frames(np.ones((2, 2), np.float32))
    from whisper_service.whisper import time_warp

    assert time_warp._first_frames.nopython_signatures
    assert time_warp._first_frames.targetoptions["nogil"]
