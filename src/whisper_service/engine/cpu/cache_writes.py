"""Keys and values written to an fp8 cache on a processor, rounded to the nearest number.

vLLM's own kernel cuts off what does not fit into the eight bits (0.32, `cpu_attn_reshape_and_cache`
without AMX): all numbers get smaller, by 4% on average, and are off by twice as much as rounded
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from whisper_service.engine.cpu.comparison import DiffersError
from whisper_service.engine.cpu.kernels.fp8_cache import write

_KINDS = ("fp8", "fp8_e4m3")
_INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
_KERNEL = "vec"  # vLLM's name for the layout below; other processors have others


def use_rounded_cache_writes(layers: Sequence[Any]) -> bool:
    """Has the decoder's layers write their keys and values so, where their cache is such a one.

    Args:
        layers: of vLLM's WhisperDecoder.

    Returns:
        Whether it has.

    Raises:
        DiffersError: vLLM's bytes lie elsewhere.
    """
    attentions = [each.attn for layer in layers for each in (layer.self_attn, layer.encoder_attn)]
    first = attentions[0]
    cache: Tensor = first.kv_cache
    if (
        cache.device.type != "cpu"
        or first.dtype not in _INTEGERS
        or not all(_can(attention) for attention in attentions)
    ):
        return False
    writer = RoundedWriter(cache.shape[1], cache.shape[3] // 2, cache.shape[2])
    if not _agree(writer, first.impl, first, cache[:2]):
        raise DiffersError("vLLM's fp8 cache has another layout")
    for attention in attentions:
        attention.impl.do_kv_cache_update = writer
    return True


def _can(attention: Any) -> bool:
    scales = attention._k_scale_float, attention._v_scale_float  # noqa: SLF001
    is_vec = getattr(attention, "isa", None) == _KERNEL
    is_fp8 = attention.kv_cache_dtype in _KINDS and scales == (1.0, 1.0)
    return is_vec and is_fp8 and bool(attention.kv_cache.is_contiguous())


def _agree(writer: RoundedWriter, impl: Any, attention: Any, like: Tensor) -> bool:
    """Whether numbers that need no rounding become the same bytes as by vLLM's kernel."""
    exact = torch.arange(1, 127, dtype=torch.uint8).view(torch.float8_e4m3fn).to(attention.dtype)
    blocks, heads, size, both = like.shape
    numbers = torch.cat([exact, -exact]).repeat(blocks * heads * size * both // len(exact) + 1)
    numbers = numbers[: blocks * heads * size * both].view(blocks * size, -1)
    key, value = (half.view(len(half), heads, -1) for half in numbers.chunk(2, dim=-1))
    slots = torch.arange(blocks * size).view(blocks, size).flip(0).flatten()
    ours, theirs = torch.zeros_like(like), torch.zeros_like(like)
    writer(attention, key, value, ours, slots)
    impl.do_kv_cache_update(attention, key, value, theirs, slots)
    return torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


class RoundedWriter:
    """In place of `do_kv_cache_update` of vLLM's CPU attention.

    Args:
        heads: of keys and values.
        width: of a head.
        size: positions of a block of the cache.
    """

    def __init__(self, heads: int, width: int, size: int) -> None:
        self._sizes = heads, width, size

    def __call__(
        self, _layer: Any, key: Tensor, value: Tensor, kv_cache: Tensor, slot_mapping: Tensor
    ) -> None:
        """Writes what belongs to the slots.

        Args:
            key: bfloat16 or float32[tokens, heads, width]; its rows lie as far from each other as
                `value`'s.
            value: the same.
            kv_cache: of a layer, one byte for each number, [blocks, heads, size, 2 * width]: in
                each block and head first the keys, a row for each of their numbers, then the
                values, a row for each position.
            slot_mapping: int64[tokens], block * size + position of each token; below 0: not kept.
                The first position of a block comes first, and clears the block.
        """
        write(
            bits_of(key),
            bits_of(value),
            key.stride(0),
            slot_mapping[: len(key)].numpy(),
            self._sizes,
            kv_cache.view(torch.int8).numpy().reshape(-1),
        )


def bits_of(rows: Tensor) -> Any:
    """The bits from the first row's first to the last row's last number, as integers."""
    numbers = (len(rows) - 1) * rows.stride(0) + rows[0].numel() if len(rows) else 0
    return rows.as_strided((numbers,), (1,)).view(_INTEGERS[rows.dtype]).numpy()
