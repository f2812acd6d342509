"""The encoder's attention on a processor, with scores from queries and keys of eight bits.

Each query and key is rounded to integers with a scale of its own, as in SageAttention (Zhang et
al., 2024), and AVX512-VNNI multiplies these twice as fast as AVX512-BF16 its numbers. From there to
the weights the scores are float32 instead of bfloat16, so that the encoder's output is as near to
float32's as with products of bfloat16 (1.8% off, both). The weights times the values stay such a
product: weights of eight bits would put it 4.5% off.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor, nn

from whisper_service.engine.eight_bits import OFFSET, OFFSETS, WIDTH, shrunk, total
from whisper_service.engine.number_bits import INNER, OPTIONS, exp2, greater, rounded, widened
from whisper_service.engine.vectors import FLOATS, I64, Vectors, has_vnni

_ROWS = 6  # of queries in a tile: their sums fill 24 of 32 registers
_COLUMNS = 4  # registers of 16 keys in a tile
_TILE = 16 * _COLUMNS
_LOG2_E = np.float32(1.4426950408889634)
_LOWEST = np.float32(-3e38)


def can_attend(width: int) -> bool:
    """Whether there are the instructions for heads so wide."""
    return width == WIDTH and has_vnni()


class IntegerAttention(nn.Module):
    """Softmax attention of every position to every position.

    Args:
        heads: of the attention, 64 wide.
        scale: of the scores.
    """

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self._heads = heads
        self._factor = np.float32(scale) * _LOG2_E

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        """bfloat16[windows, positions, width], or one window's without the first; so is the result.

        Further arguments are those of vLLM's varlen backends, and mean nothing here.
        """
        shape = query.shape
        if query.dim() == 2:
            query, key, value = query[None], key[None], value[None]
        positions = query.shape[1]
        padded = -(-positions // _TILE) * _TILE
        keys = np.full((self._heads, padded * WIDTH), -OFFSET, np.int8)
        scales = np.zeros((self._heads, padded), np.float32)
        weights = torch.empty(positions, positions, dtype=query.dtype)
        totals = torch.empty(positions, 1)
        mixed = torch.empty(query.shape, dtype=query.dtype)
        for those, these, values, target in zip(query, key, value, mixed, strict=True):
            # What all keys have in common adds the same to all of a query's scores, and often is
            # most of them: without it the rest is known better.
            differing = these - these.mean(dim=0)
            _convert(_bits(differing), differing.stride(0), keys.reshape(-1), scales)
            # Rows that lie together: a product of slices of rows takes a tenth more.
            by_head = values.view(positions, self._heads, WIDTH).transpose(0, 1).contiguous()
            queries = _bits(those)
            for head in range(self._heads):
                _weigh(
                    queries[head * WIDTH :],
                    those.stride(0),
                    keys[head],
                    scales[head],
                    self._factor,
                    weights.view(torch.int16).numpy(),
                    totals.numpy(),
                )
                columns = slice(head * WIDTH, head * WIDTH + WIDTH)
                torch.div(weights @ by_head[head], totals, out=target[:, columns])
        return mixed.view(shape)


def _bits(rows: Tensor) -> Any:
    """The bits from the first row's first to the last row's last number."""
    numbers = (len(rows) - 1) * rows.stride(0) + rows.shape[1]
    return rows.as_strided((numbers,), (1,)).view(torch.int16).numpy()


@numba.njit(**INNER)
def _convert_position(numbers: Any, position: Any, keys: Any, scales: Any, row: Any) -> None:
    heads, padded = scales.shape
    fours, fours_of_row = keys.view(np.int32), row.view(np.int32)
    for head in range(heads):
        scales[head, position] = widened(shrunk(numbers[head * WIDTH :], row))
        target = fours[(head * padded + position // 16 * 16) * WIDTH // 4 + position % 16 :]
        for place in range(WIDTH // 4):
            target[place * 16] = fours_of_row[place] ^ OFFSETS


@numba.njit(parallel=True, **OPTIONS)
def _convert(numbers: Any, stride: int, keys: Any, scales: Any) -> None:
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
        keys: as `_convert` writes them, of one head.
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
            first_key = builder.mul(tile, I64(_TILE * WIDTH))
            first = builder.mul(tile, I64(_TILE))
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
    top = _LOWEST
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
    _score(queries, starts, keys, scales, padded // _TILE, padded, scores)
    for row in range(len(weights)):
        totals[row, 0] = _weigh_row(scores[row * padded :], units[row], weights[row])


@numba.njit(parallel=True, **OPTIONS)
def _weigh(
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
