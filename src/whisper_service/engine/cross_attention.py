"""The decoder's attention to the audio on a processor, from keys and values of eight bits.

Every step reads the keys and values of all that is being transcribed: with 16 windows 150 MB, far
more than a processor's caches hold. vLLM's kernel turns each number of its fp8 cache into a float32
first, and is busy with that for longer than memory takes. Here they are integers, with a scale for
each position and head, which AVX512-VNNI multiplies and adds four at a time: memory is the limit
(33 GB/s on two cores, for which a block has to be long), and an integer of eight bits is nearer to
the number than fp8's three bits of mantissa.

The integers take the place of vLLM's numbers in its own cache, which nothing else reads; the scales
lie beside it. In each block and head, as the instruction wants them:

    keys    uint8[size / 16, 64 / 4, 16, 4]: four numbers of a position together, 128 more than they
            are, since one factor has to be unsigned
    values  int8[size / 4, 64, 4]: four positions together
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from whisper_service.engine.eight_bits import OFFSET, OFFSETS, WIDTH, shrunk, total
from whisper_service.engine.number_bits import INNER, OPTIONS, exp2, greater, rounded, widened
from whisper_service.engine.vectors import I64, INTEGERS, Vectors, has_vnni

_TOGETHER = 16  # positions whose scores one register holds
_PART = 512  # positions that a thread writes at a time
_LARGEST_WEIGHT = np.float32(2**16 - 1)  # in two bytes
_HALF, _BYTE = np.float32(0.5), np.float32(256)
_LOG2_E = np.float32(1.4426950408889634)
_LOWEST = np.float32(-3e38)


def use_integer_cross_attention(layers: Sequence[Any]) -> bool:
    """Replaces vLLM's in the decoder's layers, where the processor has the instructions.

    Args:
        layers: of vLLM's WhisperDecoder.

    Returns:
        Whether it has.
    """
    attentions = [layer.encoder_attn.attn for layer in layers]
    if not has_vnni() or not all(map(_can, attentions)):
        return False
    for attention in attentions:
        attention.impl.forward = IntegerCrossAttention(attention.kv_cache, attention.impl.scale)
    return True


def _can(attention: Any) -> bool:
    kv_cache: Tensor = attention.kv_cache
    return (
        kv_cache.device.type == "cpu"
        and attention.dtype == torch.bfloat16
        and kv_cache.element_size() == 1
        and kv_cache.dim() == 4
        and kv_cache.shape[3] == 2 * WIDTH
        and kv_cache.shape[2] % _TOGETHER == 0
        and kv_cache.is_contiguous()
    )


class IntegerCrossAttention:
    """In place of `forward` of vLLM's attention, for one layer.

    Args:
        kv_cache: of the layer, one byte for each number, [blocks, heads, size, 2 * 64], contiguous.
        scale: of the scores.
    """

    def __init__(self, kv_cache: Tensor, scale: float) -> None:
        blocks, heads, size, _ = kv_cache.shape
        self._sizes = heads, size
        self._cache = kv_cache.view(torch.int8).numpy().reshape(-1)
        # bfloat16's bits; what is stored is computed with the scale that is stored.
        self._scales = np.zeros(blocks * heads * 2 * size, np.int16)
        self._factor = np.float32(scale) * _LOG2_E

    def __call__(
        self,
        _layer: Any,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        _kv_cache: Tensor,
        attn_metadata: Any,
        output: Tensor,
        output_scale: Tensor | None = None,
        output_block_scale: Tensor | None = None,
    ) -> Tensor:
        """Writes what is new, and attends.

        Args:
            query: bfloat16[tokens, heads, 64], of all requests.
            key: bfloat16[positions, heads, 64] of the windows that are new, or None.
            value: the same; its rows lie as far from each other as the keys'.
            attn_metadata: vLLM's: `query_start_loc` int32[requests + 1] counts their tokens,
                `seq_lens` int32[requests] their positions, `block_table` int32[requests, any] names
                their blocks, `slot_mapping` int64[positions] is block * size + position of each
                that is new. None while vLLM warms up.
            output: bfloat16[tokens, heads, 64], contiguous: what is written to.
            output_scale: of fused quantisation, which there is none of.
            output_block_scale: the same.

        Returns:
            output.
        """
        del output_scale, output_block_scale
        if attn_metadata is None:
            return output
        if key is not None and value is not None and len(attn_metadata.slot_mapping):
            self.write(key, value, attn_metadata.slot_mapping)
        tokens = attn_metadata.num_actual_tokens
        _attend(
            _flat(query[:tokens]),
            query.stride(0),
            attn_metadata.query_start_loc.numpy(),
            attn_metadata.seq_lens.numpy(),
            attn_metadata.block_table.numpy(),
            self._sizes,
            self._cache,
            self._scales,
            self._factor,
            output.view(torch.int16).numpy().reshape(-1),
        )
        return output

    def write(self, key: Tensor, value: Tensor, slots: Tensor) -> None:
        """Keeps bfloat16[positions, heads, 64] in their slots; those below 0 are not kept."""
        _write(
            _flat(key),
            _flat(value),
            key.stride(0),
            slots.numpy(),
            self._sizes,
            self._cache,
            self._scales,
        )


def _flat(rows: Tensor) -> Any:
    """The bits from the first row's first to the last row's last number."""
    numbers = (len(rows) - 1) * rows.stride(0) + rows[0].numel() if len(rows) else 0
    return rows.as_strided((numbers,), (1,)).view(torch.int16).numpy()


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
            offset = builder.mul(group, I64(_TOGETHER * WIDTH))
            sums = [ir.Constant(INTEGERS, [0] * 16)] * 2  # two: each waits for the one before it
            for number, wanted in enumerate(queries):
                four = array.load(source, builder.add(offset, I64(number * 64)))
                sums[number % 2] = array.dot(sums[number % 2], four, wanted)
            array.store(builder.add(*sums), target, builder.mul(group, I64(_TOGETHER)))
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
    products = np.empty((count + _TOGETHER - 1) // _TOGETHER * _TOGETHER, np.int32)
    _multiply(query, cache, first, len(products) // _TOGETHER, products)
    too_much = total(query) * np.int32(OFFSET)
    top = _LOWEST
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
    top = _LOWEST
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
def _attend(
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
    for job in numba.prange(len(lengths) * heads):
        request, head = job // heads, job % heads
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
        group = (where + position // _TOGETHER * _TOGETHER) * WIDTH
        target = fours[group // 4 + position % _TOGETHER :]
        for place in range(WIDTH // 4):
            target[place * _TOGETHER] = fours_of_row[place] ^ OFFSETS

        where += size
        scales[where + position] = shrunk(values[head * WIDTH :], row)
        single = cache[(where + position // 4 * 4) * WIDTH + position % 4 :]
        for place in range(WIDTH):
            single[place * 4] = row[place]


@numba.njit(parallel=True, **OPTIONS)
def _write(
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
