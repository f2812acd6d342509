"""A softmax over bfloat16 scores, in place, for processors with AVX-512: 0.4 of PyTorch's time.

Compiled by Numba where it is first used, in a second. Its threads are PyTorch's: Intel's OpenMP
library is loaded before all others (`engine.launch`), and so serves GNU's calls as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

logger = logging.getLogger(__name__)

_OPENMP = "libiomp5"
_LOG2_E = np.float32(1.4426950408889634)
_LEAST = np.float32(-126)  # 2 to its power is the least number that is not denormal
_HALF, _ONE = np.float32(0.5), np.float32(1)
# ln(2)^k / k!, Taylor's polynomial: off by 3e-6 at 0.5, a thousandth of what bfloat16 rounds off.
_C5, _C4, _C3, _C2, _C1 = map(
    np.float32, (0.0013333558, 0.009618129, 0.05550411, 0.24022651, 0.6931472)
)
_I16, _I32, _F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()
_MANTISSA_BITS = 23
_OPTIONS = {"fastmath": True, "nogil": True, "boundscheck": False, "error_model": "numpy"}


def shared_softmax() -> Callable[[Tensor], None] | None:
    """The softmax over the last dimension of contiguous bfloat16 scores, in place.

    None where it cannot have PyTorch's threads: others would take turns with those.
    """
    threads = torch.get_num_threads()
    # What Numba's number is when it begins, OpenMP's becomes.
    if _OPENMP not in Path("/proc/self/maps").read_text() or threads != numba.get_num_threads():
        return None
    numba.config.THREADING_LAYER = "omp"
    try:
        softmax_(torch.zeros(threads, 2, dtype=torch.bfloat16))
    except ValueError as error:  # there is no GNU OpenMP that Numba could call
        logger.info("no softmax by Numba: %s", str(error).partition("\n")[0])
        return None
    return softmax_


def softmax_(scores: Tensor) -> None:
    """In place, over the last dimension of bfloat16[..., n], contiguous, without NaN."""
    rows = scores.view(torch.int16).flatten(0, -2).numpy()
    scratch = np.empty((numba.get_num_threads(), rows.shape[1]), np.float32)
    _softmax_rows(rows, scratch)


@intrinsic
def _widened(_: Any, bits: Any) -> Any:
    """A bfloat16's bits as float32."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = builder.shl(builder.zext(arguments[0], _I32), _I32(16))
        return builder.bitcast(wide, _F32)

    return types.float32(types.int16), build


@intrinsic
def _rounded(_: Any, number: Any) -> Any:
    """A float32 as the bits of the nearest bfloat16."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        up = builder.add(builder.bitcast(arguments[0], _I32), _I32(1 << 15))
        return builder.trunc(builder.lshr(up, _I32(16)), _I16)

    return types.int16(types.float32), build


@intrinsic
def _ordered(_: Any, bits: Any) -> Any:
    """A bfloat16's bits as an integer that is in the order of the numbers, and back again."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        sign = builder.ashr(arguments[0], _I16(15))
        return builder.xor(arguments[0], builder.and_(sign, _I16(0x7FFF)))

    return types.int16(types.int16), build


@intrinsic
def _scaled(_: Any, number: Any, power: Any) -> Any:
    """A float32 times 2 to a whole power, by way of its exponent."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        exponent = builder.shl(builder.fptosi(arguments[1], _I32), _I32(_MANTISSA_BITS))
        scaled = builder.add(builder.bitcast(arguments[0], _I32), exponent)
        return builder.bitcast(scaled, _F32)

    return types.float32(types.float32, types.float32), build


@numba.njit(inline="always", **_OPTIONS)
def _exp2(power: Any) -> Any:
    whole = np.floor(power + _HALF)
    rest = power - whole
    near_one = ((((_C5 * rest + _C4) * rest + _C3) * rest + _C2) * rest + _C1) * rest + _ONE
    return _scaled(near_one, whole)


@numba.njit(parallel=True, **_OPTIONS)
def _softmax_rows(rows: Any, scratch: Any) -> None:
    for row in numba.prange(rows.shape[0]):
        exponentials = scratch[numba.get_thread_id()]
        greatest = np.int16(-(2**15))
        for column in range(rows.shape[1]):
            greatest = max(greatest, _ordered(rows[row, column]))
        top = _widened(_ordered(greatest)) * _LOG2_E
        total = np.float32(0)
        for column in range(rows.shape[1]):
            power = _widened(rows[row, column]) * _LOG2_E - top
            exponential = _exp2(max(power, _LEAST))
            exponentials[column] = exponential
            total += exponential
        for column in range(rows.shape[1]):
            rows[row, column] = _rounded(exponentials[column] / total)
