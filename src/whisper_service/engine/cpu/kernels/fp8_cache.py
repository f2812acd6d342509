"""What is written to an fp8 cache, rounded to the nearest number (`cache_writes`)."""

from __future__ import annotations

from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

from whisper_service.engine.cpu.kernels.number_bits import F32, I8, I32, OPTIONS


@intrinsic
def _e4m3(_: Any, bits: Any) -> Any:
    """The bits of a bfloat16 or float32 as the nearest e4m3's; what is too large, as the largest.

    Scaled down by 2^120, the number's exponent is that of its e4m3, and a denormal stays one.
    """

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = arguments[0]
        if bits == types.int16:
            wide = builder.shl(builder.zext(wide, I32), I32(16))
        magnitude = builder.bitcast(builder.and_(wide, I32(0x7FFFFFFF)), F32)
        small = builder.bitcast(builder.fmul(magnitude, F32(2.0**-120)), I32)
        odd = builder.and_(builder.lshr(small, I32(20)), I32(1))
        nearest = builder.lshr(builder.add(builder.add(small, I32((1 << 19) - 1)), odd), I32(20))
        largest = I32(0x7E)
        is_small = builder.icmp_unsigned("<", nearest, largest)
        byte = builder.trunc(builder.select(is_small, nearest, largest), I8)
        sign = builder.trunc(builder.lshr(wide, I32(24)), I8)
        return builder.or_(byte, builder.and_(sign, I8(0x80)))

    return types.int8(bits), build


@numba.njit(**OPTIONS)
def write(keys: Any, values: Any, stride: int, slots: Any, sizes: Any, cache: Any) -> None:
    heads, width, size = sizes
    for token in range(len(slots)):
        if slots[token] < 0:
            continue
        block, position = slots[token] // size, slots[token] % size
        if position == 0:
            # Of another kind of layer there may be what is no number here, and vLLM's kernel reads
            # beyond the last position, though it gives that no weight.
            begin = block * heads * 2 * size * width
            cache[begin : begin + heads * 2 * size * width] = 0
        for head in range(heads):
            # Slices, since Numba asks of each of their places whether it is counted from the end.
            source = token * stride + head * width
            key, value = keys[source:], values[source:]
            first = (block * heads + head) * 2 * size * width
            column, row = cache[first + position :], cache[first + (size + position) * width :]
            for place in range(width):
                column[place * size] = _e4m3(key[place])
                row[place] = _e4m3(value[place])
