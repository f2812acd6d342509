"""Numbers by their bits, for the kernels that Numba compiles: what it has no words for itself."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
# Every function is told the same, or it does not become part of its caller.
_ALL = {"fastmath": True, "nogil": True, "boundscheck": False, "error_model": "numpy"}
# Of those that are called from outside: compiled ahead, where that has a place (`kernels.ahead`).
OPTIONS = _ALL | {"cache": bool(os.environ.get("NUMBA_CACHE_DIR"))}
# Of those that only kernels call, which are compiled sooner without a way in for Python and C.
INNER = _ALL | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

LOG2_E = np.float32(1.4426950408889634)
LOWEST = np.float32(-3e38)
_LEAST = np.float32(-126)  # 2 to its power is the least number that is not denormal
_HALF, _ONE = np.float32(0.5), np.float32(1)
# ln(2)^k / k!, Taylor's polynomial: off by 3e-6 at 0.5, a thousandth of what bfloat16 rounds off.
_C5, _C4, _C3, _C2, _C1 = map(
    np.float32, (0.0013333558, 0.009618129, 0.05550411, 0.24022651, 0.6931472)
)
_MANTISSA_BITS = 23


@intrinsic
def widened(_: Any, bits: Any) -> Any:
    """A bfloat16's bits as float32."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = builder.shl(builder.zext(arguments[0], I32), I32(16))
        return builder.bitcast(wide, F32)

    return types.float32(types.int16), build


@intrinsic
def rounded(_: Any, number: Any) -> Any:
    """A float32 as the bits of the nearest bfloat16."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        up = builder.add(builder.bitcast(arguments[0], I32), I32(1 << 15))
        return builder.trunc(builder.lshr(up, I32(16)), I16)

    return types.int16(types.float32), build


@intrinsic
def magnitude(_: Any, bits: Any) -> Any:
    """The bits of a bfloat16 without its sign: integers in the order of the magnitudes."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.and_(arguments[0], I16(0x7FFF))

    return types.int16(types.int16), build


@intrinsic
def greater(_: Any, one: Any, other: Any) -> Any:
    """The greater float32; unlike `max` it becomes a vector's."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        is_greater = builder.fcmp_ordered(">", *arguments, flags=("fast",))
        return builder.select(is_greater, *arguments, flags=("fast",))

    return types.float32(types.float32, types.float32), build


@intrinsic
def _scaled(_: Any, number: Any, power: Any) -> Any:
    """A float32 times 2 to a whole power, by way of its exponent."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        exponent = builder.shl(builder.fptosi(arguments[1], I32), I32(_MANTISSA_BITS))
        scaled = builder.add(builder.bitcast(arguments[0], I32), exponent)
        return builder.bitcast(scaled, F32)

    return types.float32(types.float32, types.float32), build


@numba.njit(**INNER)
def exp2(power: Any) -> Any:
    """2 to the power of a float32 that is not above 127; below 2^-126 the least normal number."""
    power = greater(power, _LEAST)
    whole = np.floor(power + _HALF)
    rest = power - whole
    near_one = ((((_C5 * rest + _C4) * rest + _C3) * rest + _C2) * rest + _C1) * rest + _ONE
    return _scaled(near_one, whole)
