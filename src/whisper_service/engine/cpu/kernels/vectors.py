"""LLVM's instructions for registers of 64 bytes, in intrinsics that Numba compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils

from whisper_service.engine.cpu.kernels.number_bits import F32, I8, I32


class _BFloat16(ir.Type):  # type: ignore[misc]  # llvmlite is not typed
    """What llvmlite has no name for, and LLVM has."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash(_BFloat16)


I64 = ir.IntType(64)
INTEGERS = ir.VectorType(I32, 16)  # or four times as many bytes
FLOATS = ir.VectorType(F32, 16)
_HALVES = ir.VectorType(_BFloat16(), 32)


def _lanes(number: int) -> Any:
    """The number in each of 16 lanes."""
    return ir.Constant(INTEGERS, [number] * 16)


def has_vnni() -> bool:
    """Whether there is `Vectors.dot`: AVX512-VNNI."""
    features = llvmlite.binding.get_host_cpu_features()
    return all(features.get(name, False) for name in ("avx512f", "avx512bw", "avx512vnni"))


def has_bfloat16() -> bool:
    """Whether there is `Vectors.dot_halves`: AVX512-BF16."""
    features = llvmlite.binding.get_host_cpu_features()
    return all(features.get(name, False) for name in ("avx512f", "avx512bw", "avx512bf16"))


class Vectors:
    """LLVM's instructions for the arrays that an intrinsic is called with."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self._context, self._builder = context, builder
        self._types, self._arguments = signature.args, arguments

    def at(self, number: int, offset: Any) -> Any:
        """A pointer into argument `number`."""
        array = self._context.make_array(self._types[number])
        data = array(self._context, self._builder, self._arguments[number]).data
        return self._builder.gep(data, [offset])

    def _place(self, pointer: Any, offset: Any, kind: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(pointer, [offset]), kind.as_pointer())

    def load(self, pointer: Any, offset: Any) -> Any:
        return self.load_as(INTEGERS, pointer, offset)

    def store(self, numbers: Any, pointer: Any, offset: Any) -> None:
        self.store_as(INTEGERS, numbers, pointer, offset)

    def load_as(self, kind: Any, pointer: Any, offset: Any) -> Any:
        return self._builder.load(self._place(pointer, offset, kind), align=1)

    def store_as(self, kind: Any, numbers: Any, pointer: Any, offset: Any) -> None:
        self._builder.store(numbers, self._place(pointer, offset, kind), align=1)

    def repeated(self, pointer: Any, offset: Any) -> Any:
        """Four bytes, in all lanes."""
        four = self._builder.load(self._place(pointer, offset, I32), align=1)
        undefined = ir.Constant(INTEGERS, ir.Undefined)
        first = self._builder.insert_element(undefined, four, I32(0))
        return self._builder.shuffle_vector(first, undefined, ir.Constant(INTEGERS, [0] * 16))

    def dot(self, sums: Any, unsigned: Any, signed: Any) -> Any:
        """Adds in each lane the products of its four bytes: AVX512-VNNI's `vpdpbusd`."""
        if not has_vnni():
            return self._dot_by_shifts(sums, unsigned, signed)
        kind = ir.FunctionType(INTEGERS, [INTEGERS] * 3)
        name = "llvm.x86.avx512.vpdpbusd.512"
        function = cgutils.get_or_insert_function(self._builder.module, kind, name)
        return self._builder.call(function, [sums, unsigned, signed])

    def dot_halves(self, sums: Any, some: Any, others: Any) -> Any:
        """Adds to 16 float32 the products of two bfloat16 each: AVX512-BF16's `vdpbf16ps`."""
        if not has_bfloat16():
            return self._dot_halves_by_shifts(sums, some, others)
        kind = ir.FunctionType(FLOATS, [FLOATS, _HALVES, _HALVES])
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        function = cgutils.get_or_insert_function(self._builder.module, kind, name)
        halves = [self._builder.bitcast(each, _HALVES) for each in (some, others)]
        return self._builder.call(function, [sums, *halves])

    # The same without the instructions, so that the kernels can be tested on every processor. No
    # engine uses them there: vLLM's own are faster.

    def _dot_by_shifts(self, sums: Any, unsigned: Any, signed: Any) -> Any:
        builder = self._builder
        last = _lanes(24)
        for byte in range(4):
            first = _lanes(24 - 8 * byte)  # moves the byte to the top of its lane
            one = builder.lshr(builder.shl(unsigned, first), last)
            other = builder.ashr(builder.shl(signed, first), last)
            sums = builder.add(sums, builder.mul(one, other))
        return sums

    def _dot_halves_by_shifts(self, sums: Any, some: Any, others: Any) -> Any:
        builder = self._builder
        for widen in (self._upper_half, self._lower_half):
            product = builder.fmul(widen(some), widen(others))
            sums = builder.fadd(sums, product)
        return sums

    def _upper_half(self, pairs: Any) -> Any:
        builder = self._builder
        return builder.bitcast(builder.and_(pairs, _lanes(-(1 << 16))), FLOATS)

    def _lower_half(self, pairs: Any) -> Any:
        builder = self._builder
        return builder.bitcast(builder.shl(pairs, _lanes(16)), FLOATS)

    def prefetch(self, pointer: Any, offset: Any) -> None:
        """Has 64 bytes come from memory to the second cache, to be read soon."""
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), *[I32] * 3])
        function = cgutils.get_or_insert_function(self._builder.module, kind, "llvm.prefetch.p0")
        place = self._place(pointer, offset, I8)
        self._builder.call(function, [place, I32(0), I32(2), I32(1)])

    def loop(
        self, count: Any, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> Any:
        """Runs the body `count` times, at least once, with what it gave the time before."""
        builder, before = self._builder, self._builder.block
        inside, after = (builder.append_basic_block(name) for name in ("loop", "after"))
        builder.branch(inside)
        builder.position_at_end(inside)
        number = builder.phi(I64)
        number.add_incoming(I64(0), before)
        carried = [builder.phi(each.type) for each in start]
        for each, first in zip(carried, start, strict=True):
            each.add_incoming(first, before)
        given = body(number, carried)
        following = builder.add(number, I64(1))
        number.add_incoming(following, builder.block)
        for each, last in zip(carried, given, strict=True):
            each.add_incoming(last, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
        builder.position_at_end(after)
        return given
