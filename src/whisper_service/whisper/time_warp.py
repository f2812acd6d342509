"""Dynamic time warping, compiled: which frame of the audio each token begins at.

The recurrence and its tie-breaking are those of openai/whisper, timing.py, `dtw_cpu`. Importing
this module takes half a second, the first call two more, for its compilation.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_DIAGONAL, _UP, _LEFT = 0, 1, 2


def first_frames(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    """The first frame of each token on the cheapest monotonic path through all of both.

    Releases the interpreter's lock: call it in a thread.

    Args:
        similarity: float32[tokens, frames], none of them 0; the more alike, the greater.

    Returns:
        int64[tokens], never decreasing, from 0.
    """
    firsts: NDArray[np.int64] = _first_frames(np.ascontiguousarray(-similarity))
    return firsts


def _first_frames_of(distance: Any) -> Any:
    tokens, frames = distance.shape
    trace = np.empty((tokens + 1, frames + 1), np.int8)
    trace[0, :] = _LEFT
    trace[:, 0] = _UP
    above = np.full(frames + 1, np.inf, np.float32)  # the costs of the row above
    above[0] = 0.0
    for token in range(1, tokens + 1):
        diagonal = above[0]
        left = np.float32(np.inf)
        above[0] = np.inf
        for frame in range(1, frames + 1):
            up = above[frame]
            if diagonal < up and diagonal < left:
                cost, step = diagonal, _DIAGONAL
            elif up < diagonal and up < left:
                cost, step = up, _UP
            else:
                cost, step = left, _LEFT
            diagonal = up
            left = cost + distance[token - 1, frame - 1]
            above[frame] = left
            trace[token, frame] = step
    firsts = np.zeros(tokens, np.int64)
    token, frame = tokens, frames
    while token > 0 and frame > 0:
        firsts[token - 1] = frame - 1
        step = trace[token, frame]
        if step != _LEFT:
            token -= 1
        if step != _UP:
            frame -= 1
    return firsts


_first_frames = numba.njit(nogil=True)(_first_frames_of)
