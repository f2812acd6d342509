"""Heads of queries, keys and values as integers of eight bits with a scale, by Numba."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from whisper_service.engine.cpu.kernels.number_bits import (
    INNER,
    greater,
    magnitude,
    rounded,
    widened,
)

WIDTH = 64  # of a head, in every Whisper
OFFSET = 128  # what is added where integers have to be unsigned
LANES = 16  # positions whose keys lie together, four numbers of each at a time
_OFFSETS = np.int32(-0x7F7F7F80)  # the offset of four of them: 0x80808080, by exclusive or
_LARGEST = np.float32(127)
_LEAST = np.float32(1e-30)  # of numbers that are all 0
_ABOVE = np.float32(1.004)  # what bfloat16 may round away, 2^-8


@numba.njit(**INNER)
def shrunk(numbers: Any, into: Any) -> Any:
    """Writes int8[64] for 64 bfloat16; gives their scale, as a bfloat16's bits.

    The integers are computed with the rounded scale, so that its rounding costs nothing.
    """
    largest = np.int16(0)
    for place in range(WIDTH):
        largest = max(largest, magnitude(numbers[place]))
    bits = rounded(greater(widened(largest), _LEAST) * (_ABOVE / _LARGEST))
    shrink = np.float32(1) / widened(bits)
    for place in range(WIDTH):
        into[place] = np.int8(np.int32(np.rint(widened(numbers[place]) * shrink)))
    return bits


@numba.njit(**INNER)
def lay_out(row: Any, target: Any) -> None:
    """Writes a key, int8[64] as int32[16], unsigned, beside those of 15 other positions.

    Args:
        row: the key.
        target: int32, from the first four numbers' place on.
    """
    for place in range(WIDTH // 4):
        target[place * LANES] = row[place] ^ _OFFSETS


@numba.njit(**INNER)
def total(integers: Any) -> Any:
    """Of int8[64]."""
    summed = np.int32(0)
    for place in range(WIDTH):
        summed += np.int32(integers[place])
    return summed
