"""Attention to the audio in a cache of eight bits, and what writes it (`cross_attention`)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from whisper_service.engine.cpu.kernels.eight_bits import (
    LANES,
    OFFSET,
    WIDTH,
    lay_out,
    shrunk,
    total,
)
from whisper_service.engine.cpu.kernels.number_bits import (
    INNER,
    LOWEST,
    OPTIONS,
    exp2,
    greater,
    rounded,
    widened,
)
from whisper_service.engine.cpu.kernels.vectors import I64, INTEGERS, Vectors

_PART = 512  # positions that a thread writes at a time
_LARGEST_WEIGHT = np.float32(2**16 - 1)  # in two bytes
_HALF, _BYTE = np.float32(0.5), np.float32(256)


@intrinsic
def _multiply(_: Any, query: Any, keys: Any, first: Any, groups: Any, products: Any) -> Any:
    """One query's products with keys.

    Args:
        query: int8[64].
        keys: of a layer.
        first: where those of the first group begin.
        groups: of 16 positions.
        products: int32[16 * groups], written.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = Vectors(context, builder, signature, arguments)
        queries = [
            array.repeated(array.at(0, I64(0)), I64(number * 4)) for number in range(WIDTH // 4)
        ]
        source, target = array.at(1, arguments[2]), array.at(4, I64(0))

        def body(group: Any, _: Any) -> list[Any]:
            offset = builder.mul(group, I64(LANES * WIDTH))
            sums = [ir.Constant(INTEGERS, [0] * 16)] * 2  # two: each waits for the one before it
            for number, wanted in enumerate(queries):
                four = array.load(source, builder.add(offset, I64(number * 64)))
                sums[number % 2] = array.dot(sums[number % 2], four, wanted)
            array.store(builder.add(*sums), target, builder.mul(group, I64(LANES)))
            return []

        array.loop(arguments[3], [], body)
        return context.get_dummy_value()

    return types.void(query, keys, types.intp, types.intp, products), build


@intrinsic
def _mix(
    _: Any, high: Any, low: Any, first: Any, values: Any, begin: Any, fours: Any, sums: Any
) -> Any:
    """Adds values times their weights.

    Args:
        high: uint8[positions]: the weights' upper bytes.
        low: their lower ones.
        first: where those of the first group begin.
        values: of a layer.
        begin: where those of the first group begin.
        fours: groups of four positions.
        sums: int32[2, 64] for upper and lower bytes, written.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = Vectors(context, builder, signature, arguments)
        upper, lower = array.at(0, arguments[2]), array.at(1, arguments[2])
        source, target = array.at(3, arguments[4]), array.at(6, I64(0))
        registers = WIDTH // 16

        def body(group: Any, sums: list[Any]) -> list[Any]:
            place = builder.mul(group, I64(4))
            weights = [array.repeated(each, place) for each in (upper, lower)]
            offset = builder.mul(group, I64(4 * WIDTH))
            values = [
                array.load(source, builder.add(offset, I64(number * 64)))
                for number in range(registers)
            ]
            return [
                array.dot(mixed, weights[number // registers], values[number % registers])
                for number, mixed in enumerate(sums)
            ]

        sums = [array.load(target, I64(number * 16)) for number in range(2 * registers)]
        for number, mixed in enumerate(array.loop(arguments[5], sums, body)):
            array.store(mixed, target, I64(number * 16))
        return context.get_dummy_value()

    signature = types.void(high, low, types.intp, values, types.intp, types.intp, sums)
    return signature, build


@numba.njit(**INNER)
def _score(
    query: Any, first: Any, count: Any, cache: Any, units: Any, factor: Any, scores: Any
) -> Any:
    """Scores of one query in a block and head; gives the greatest.

    Args:
        query: int8[64].
        first: where the keys begin in the cache.
        count: positions.
        cache: of the layer.
        units: the keys' scales, bfloat16's bits.
        factor: the query's scale, times that of all scores.
        scores: float32[count], written.
    """
    products = np.empty((count + LANES - 1) // LANES * LANES, np.int32)
    _multiply(query, cache, first, len(products) // LANES, products)
    too_much = total(query) * np.int32(OFFSET)
    top = LOWEST
    for place in range(count):
        product = np.float32(products[place] - too_much)
        score = product * (factor * widened(units[place]))
        scores[place] = score
        top = greater(top, score)
    return top


@numba.njit(**INNER)
def _weigh(scores: Any, count: Any, top: Any, units: Any) -> Any:
    """Scores become weights times the values' scales; gives the weights' sum and the greatest."""
    summed, heaviest = np.float32(0), np.float32(0)
    for place in range(count):
        weight = exp2(scores[place] - top)
        summed += weight
        weight *= widened(units[place])
        heaviest = greater(heaviest, weight)
        scores[place] = weight
    return summed, heaviest


@numba.njit(**INNER)
def _halve(weights: Any, shrink: Any, high: Any, low: Any) -> None:
    """Writes the upper and the lower bytes of weights that are integers of 16 bits."""
    for place in range(len(weights)):
        whole = np.int32(weights[place] * shrink + _HALF)
        high[place] = np.uint8(whole >> 8)
        low[place] = np.uint8(whole & 255)


@numba.njit(**INNER)
def _look(
    numbers: Any,
    length: Any,
    table: Any,
    head: Any,
    sizes: Any,
    cache: Any,
    scales: Any,
    factor: Any,
    result: Any,
) -> None:
    """One query's attention in one head.

    Args:
        numbers: the query, bfloat16's bits.
        length: positions of the window.
        table: their blocks.
        head: which.
        sizes: heads, and positions of a block.
        cache: of the layer.
        scales: of the layer.
        factor: of the scores.
        result: written, bfloat16's bits.
    """
    heads, size = sizes
    blocks = (length + size - 1) // size
    query = np.empty(WIDTH, np.int8)
    scores = np.zeros(blocks * size, np.float32)
    factor *= widened(shrunk(numbers, query))
    top = LOWEST
    for block in range(blocks):
        count, where = min(size, length - block * size), (table[block] * heads + head) * 2 * size
        into = scores[block * size :]
        top = greater(top, _score(query, where * WIDTH, count, cache, scales[where:], factor, into))
    summed, heaviest = np.float32(0), np.float32(0)
    for block in range(blocks):
        count, where = min(size, length - block * size), (table[block] * heads + head) * 2 * size
        some, heavy = _weigh(scores[block * size :], count, top, scales[where + size :])
        summed += some
        heaviest = greater(heaviest, heavy)
    high, low = np.empty(blocks * size, np.uint8), np.empty(blocks * size, np.uint8)
    _halve(scores, _LARGEST_WEIGHT / heaviest, high, low)
    sums = np.zeros(2 * WIDTH, np.int32)
    for block in range(blocks):
        count, where = min(size, length - block * size), (table[block] * heads + head) * 2 * size
        _mix(high, low, block * size, cache, (where + size) * WIDTH, (count + 3) // 4, sums)
    grow = heaviest / (_LARGEST_WEIGHT * summed)
    for place in range(WIDTH):
        both = np.float32(sums[place]) * _BYTE + np.float32(sums[WIDTH + place])
        result[place] = rounded(both * grow)


@numba.njit(parallel=True, **OPTIONS)
def attend(
    queries: Any,
    stride: int,
    starts: Any,
    lengths: Any,
    tables: Any,
    sizes: Any,
    cache: Any,
    scales: Any,
    factor: Any,
    output: Any,
) -> None:
    heads = sizes[0]
    requests = len(lengths)
    # A thread gets jobs that follow each other: some heads of all requests, since one request may
    # have many tokens.
    for job in numba.prange(requests * heads):
        head, request = job // requests, job % requests
        for token in range(starts[request], starts[request + 1]):
            _look(
                queries[token * stride + head * WIDTH :],
                lengths[request],
                tables[request],
                head,
                sizes,
                cache,
                scales,
                factor,
                output[(token * heads + head) * WIDTH :],
            )


@numba.njit(**INNER)
def _keep(
    keys: Any, values: Any, slot: Any, sizes: Any, cache: Any, fours: Any, scales: Any, row: Any
) -> None:
    """Writes the keys and values of one position, of all heads."""
    heads, size = sizes
    block, position = slot // size, slot % size
    fours_of_row = row.view(np.int32)
    for head in range(heads):
        where = (block * heads + head) * 2 * size
        scales[where + position] = shrunk(keys[head * WIDTH :], row)
        group = (where + position // LANES * LANES) * WIDTH
        target = fours[group // 4 + position % LANES :]
        lay_out(fours_of_row, target)

        where += size
        scales[where + position] = shrunk(values[head * WIDTH :], row)
        single = cache[(where + position // 4 * 4) * WIDTH + position % 4 :]
        for place in range(WIDTH):
            single[place * 4] = row[place]


@numba.njit(parallel=True, **OPTIONS)
def write(
    keys: Any, values: Any, stride: int, slots: Any, sizes: Any, cache: Any, scales: Any
) -> None:
    for part in numba.prange((len(slots) + _PART - 1) // _PART):
        row = np.empty(WIDTH, np.int8)
        for token in range(part * _PART, min(part * _PART + _PART, len(slots))):
            first, slot = token * stride, slots[token]
            if slot >= 0:
                _keep(
                    keys[first:],
                    values[first:],
                    slot,
                    sizes,
                    cache,
                    cache.view(np.int32),
                    scales,
                    row,
                )
