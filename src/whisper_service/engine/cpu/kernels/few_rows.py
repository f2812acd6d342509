"""Products of a few rows with many weights, which memory is the limit of.

Weights lie in the order in which they are read, int32[outputs / 64, pairs, 64], flat: two bfloat16
of an output in each, and 64 outputs together (`packed_layers`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from whisper_service.engine.cpu.kernels.number_bits import INNER, OPTIONS, rounded, widened
from whisper_service.engine.cpu.kernels.vectors import FLOATS, I64, Vectors

_COLUMNS = 4  # registers of 16 outputs in a block
BLOCK = 16 * _COLUMNS  # outputs


def _product(number: int, lines: int) -> Any:
    """An intrinsic for so many rows, that prefetches so many of four parts of a block."""

    @intrinsic
    def multiply(
        _: Any,
        rows: Any,
        row: Any,
        weights: Any,
        block: Any,
        following: Any,
        pairs: Any,
        target: Any,
        stride: Any,
    ) -> Any:
        """Products with the weights of a block's 64 outputs.

        Args:
            rows: two bfloat16 in each int32, int32[any, pairs], flat.
            row: the first.
            weights: of all blocks.
            block: where its weights begin.
            following: where those begin that will be wanted next.
            pairs: half a row's width.
            target: float32, written: 64 numbers for each row.
            stride: from one row's numbers to the next one's.
        """

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = Vectors(context, builder, signature, arguments)
            source = array.at(0, builder.mul(arguments[1], arguments[5]))
            here, there = array.at(2, arguments[3]), array.at(2, arguments[4])
            into = array.at(6, I64(0))

            def body(pair: Any, sums: list[Any]) -> list[Any]:
                offset = builder.mul(pair, I64(BLOCK))
                those = [
                    array.load(here, builder.add(offset, I64(column * 16)))
                    for column in range(_COLUMNS)
                ]
                for line in range(lines):
                    ahead = builder.mul(pair, I64(lines * 16))
                    array.prefetch(there, builder.add(ahead, I64(line * 16)))
                added = []
                for each in range(number):
                    place = builder.add(builder.mul(arguments[5], I64(each)), pair)
                    wanted = array.repeated(source, place)
                    added += [
                        array.dot_halves(sums[each * _COLUMNS + column], those[column], wanted)
                        for column in range(_COLUMNS)
                    ]
                return added

            zero = ir.Constant(FLOATS, [0.0] * 16)
            sums = array.loop(arguments[5], [zero] * (number * _COLUMNS), body)
            for place, summed in enumerate(sums):
                each, column = divmod(place, _COLUMNS)
                offset = builder.mul(arguments[7], I64(each))
                array.store_as(FLOATS, summed, into, builder.add(offset, I64(column * 16)))
            return context.get_dummy_value()

        whole = types.intp
        signature = types.void(rows, whole, weights, whole, whole, whole, target, whole)
        return signature, build

    return multiply


_one, _two, _four = (_product(number, lines=_COLUMNS) for number in (1, 2, 4))
_six = _product(6, lines=_COLUMNS // 2)  # more than once where there are many rows


@numba.njit(**INNER)
def _multiply_block(
    rows: Any, count: Any, weights: Any, block: Any, end: Any, pairs: Any, target: Any, stride: Any
) -> None:
    """All rows with a block, six at most at a time: their sums fill 24 of 32 registers.

    Meanwhile the next block is on its way from memory.
    """
    size = pairs * BLOCK
    following = block + size if block + size < end else block
    row, half = 0, 0
    while row < count:
        left, into = count - row, target[row * stride :]
        if left >= 6:
            ahead = following + half * (size // 2)
            _six(rows, row, weights, block, ahead, pairs, into, stride)
            row, half = row + 6, 1 - half
        elif left >= 4:
            _four(rows, row, weights, block, following, pairs, into, stride)
            row += 4
        elif left >= 2:
            _two(rows, row, weights, block, following, pairs, into, stride)
            row += 2
        else:
            _one(rows, row, weights, block, following, pairs, into, stride)
            row += 1


@numba.njit(parallel=True, **OPTIONS)
def multiply(rows: Any, count: int, weights: Any, outputs: int, products: Any) -> None:
    """Writes float32[count, outputs], flat.

    Args:
        rows: two bfloat16 in each int32, int32[count, pairs], flat.
        count: of rows.
        weights: of all outputs, and of as many more as fill the last block.
        outputs: how many.
        products: written.
    """
    pairs = len(rows) // count
    for block in numba.prange((outputs + BLOCK - 1) // BLOCK):
        first, output = block * pairs * BLOCK, block * BLOCK
        if output + BLOCK <= outputs:
            into = products[output:]
            _multiply_block(rows, count, weights, first, len(weights), pairs, into, outputs)
        else:
            last = np.empty(count * BLOCK, np.float32)
            _multiply_block(rows, count, weights, first, len(weights), pairs, last, BLOCK)
            for row in range(count):
                for place in range(outputs - output):
                    products[row * outputs + output + place] = last[row * BLOCK + place]


@numba.njit(parallel=True, **OPTIONS)
def multiply_and_add(rows: Any, count: int, weights: Any, bias: Any, products: Any) -> None:
    """Writes bfloat16[count, outputs], flat, the bias added.

    Args:
        rows: as above.
        count: the same.
        weights: the same.
        bias: bfloat16's bits, int16[outputs]; whole blocks.
        products: written, bfloat16's bits.
    """
    pairs, outputs = len(rows) // count, len(bias)
    for block in numba.prange(outputs // BLOCK):
        sums = np.empty(count * BLOCK, np.float32)
        first, output = block * pairs * BLOCK, block * BLOCK
        _multiply_block(rows, count, weights, first, len(weights), pairs, sums, BLOCK)
        some = bias[output:]
        for row in range(count):
            into = products[row * outputs + output :]
            for place in range(BLOCK):
                into[place] = rounded(sums[row * BLOCK + place] + widened(some[place]))
