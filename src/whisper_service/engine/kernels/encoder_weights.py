"""The encoder's attention weights from queries and keys of eight bits (`integer_attention`)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from whisper_service.engine.kernels.eight_bits import LANES, OFFSET, WIDTH, lay_out, shrunk, total
from whisper_service.engine.kernels.number_bits import (
    INNER,
    LOWEST,
    OPTIONS,
    exp2,
    greater,
    rounded,
    widened,
)
from whisper_service.engine.kernels.vectors import FLOATS, I64, Vectors

_ROWS = 6  # of queries in a tile: their sums fill 24 of 32 registers
_COLUMNS = 4  # registers of 16 keys in a tile
TILE = 16 * _COLUMNS


@numba.njit(**INNER)
def _convert_position(numbers: Any, position: Any, keys: Any, scales: Any, row: Any) -> None:
    heads, padded = scales.shape
    fours, fours_of_row = keys.view(np.int32), row.view(np.int32)
    for head in range(heads):
        scales[head, position] = widened(shrunk(numbers[head * WIDTH :], row))
        group = (head * padded + position // LANES * LANES) * WIDTH
        lay_out(fours_of_row, fours[group // 4 + position % LANES :])


@numba.njit(parallel=True, **OPTIONS)
def convert_keys(numbers: Any, stride: int, keys: Any, scales: Any) -> None:
    """Writes uint8[heads, padded / 16, 64 / 4, 16, 4] and float32[heads, padded]."""
    positions = (len(numbers) - 1) // stride + 1
    for group in numba.prange((positions + 15) // 16):
        row = np.empty(WIDTH, np.int8)
        for position in range(group * 16, min(group * 16 + 16, positions)):
            _convert_position(numbers[position * stride :], position, keys, scales, row)


@intrinsic
def _score(
    _: Any, queries: Any, starts: Any, keys: Any, scales: Any, tiles: Any, stride: Any, scores: Any
) -> Any:
    """Products of six queries with 64 keys at a time, times the keys' scales.

    Args:
        queries: int8[6, 64].
        starts: int32[6]: what the sums begin with.
        keys: as `convert_keys` writes them, of one head.
        scales: float32[keys].
        tiles: of 64 keys.
        stride: from one query's scores to the next one's.
        scores: float32, written.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = Vectors(context, builder, signature, arguments)
        query, start, key, scale = (array.at(number, I64(0)) for number in range(4))
        target = array.at(6, I64(0))

        def body(tile: Any, _: Any) -> list[Any]:
            first_key = builder.mul(tile, I64(TILE * WIDTH))
            first = builder.mul(tile, I64(TILE))
            sums = []
            for row in range(_ROWS):
                begin = array.repeated(start, I64(row))
                sums += [begin] * _COLUMNS
            for four in range(WIDTH // 4):
                those = [
                    array.load(key, builder.add(first_key, I64(column * 1024 + four * 64)))
                    for column in range(_COLUMNS)
                ]
                for row in range(_ROWS):
                    wanted = array.repeated(query, I64(row * WIDTH + four * 4))
                    for column in range(_COLUMNS):
                        place = row * _COLUMNS + column
                        sums[place] = array.dot(sums[place], those[column], wanted)
            for column in range(_COLUMNS):
                offset = builder.add(first, I64(column * 16))
                units = array.load_as(FLOATS, scale, offset)
                for row in range(_ROWS):
                    products = builder.sitofp(sums[row * _COLUMNS + column], FLOATS)
                    place = builder.add(builder.mul(arguments[5], I64(row)), offset)
                    array.store_as(FLOATS, builder.fmul(products, units), target, place)
            return []

        array.loop(arguments[4], [], body)
        return context.get_dummy_value()

    return types.void(queries, starts, keys, scales, types.intp, types.intp, scores), build


@numba.njit(**INNER)
def _weigh_row(scores: Any, unit: Any, weights: Any) -> Any:
    """Writes bfloat16's bits of 2^(unit * (score - the greatest)); gives their total."""
    top = LOWEST
    for place in range(len(weights)):
        top = greater(top, scores[place])
    summed = np.float32(0)
    for place in range(len(weights)):
        weight = exp2((scores[place] - top) * unit)
        summed += weight
        weights[place] = rounded(weight)
    return summed


@numba.njit(**INNER)
def _weigh_rows(
    numbers: Any, stride: Any, keys: Any, scales: Any, factor: Any, weights: Any, totals: Any
) -> None:
    """Of up to six queries."""
    padded = len(scales)
    queries = np.zeros(_ROWS * WIDTH, np.int8)
    starts = np.empty(_ROWS, np.int32)
    units = np.empty(_ROWS, np.float32)
    scores = np.empty(_ROWS * padded, np.float32)
    for row in range(len(weights)):
        query = queries[row * WIDTH :]
        units[row] = widened(shrunk(numbers[row * stride :], query)) * factor
        starts[row] = total(query) * np.int32(-OFFSET)
    _score(queries, starts, keys, scales, padded // TILE, padded, scores)
    for row in range(len(weights)):
        totals[row, 0] = _weigh_row(scores[row * padded :], units[row], weights[row])


@numba.njit(parallel=True, **OPTIONS)
def weigh(
    numbers: Any, stride: int, keys: Any, scales: Any, factor: Any, weights: Any, totals: Any
) -> None:
    """Writes bfloat16[positions, positions] and their totals float32[positions, 1]."""
    for part in numba.prange((len(weights) + _ROWS - 1) // _ROWS):
        first, end = part * _ROWS, min(part * _ROWS + _ROWS, len(weights))
        _weigh_rows(
            numbers[first * stride :],
            stride,
            keys,
            scales,
            factor,
            weights[first:end],
            totals[first:],
        )
