"""The decoder's attention to the audio on a processor, from keys and values of eight bits.

Every step reads the keys and values of all that is being transcribed: with 16 windows 150 MB, far
more than a processor's caches hold. vLLM's kernel turns each number of its fp8 cache into a float32
first, and is busy with that for longer than memory takes. Here they are integers, with a scale for
each position and head, which AVX512-VNNI multiplies and adds four at a time: memory is the limit
(33 GB/s on two cores, for which a block has to be long), and an integer of eight bits is nearer to
the number than fp8's three bits of mantissa.

The integers take the place of vLLM's numbers in its own cache; the scales lie beside it. A block
that goes to the text afterwards is cleared when that begins (`cache_writes`), since vLLM's kernel
may read what is left. In each block and head, as the instruction wants them:

    keys    uint8[size / 16, 64 / 4, 16, 4]: four numbers of a position together, 128 more than they
            are, since one factor has to be unsigned
    values  int8[size / 4, 64, 4]: four positions together
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whisper_service.engine.cpu.cache_writes import bits_of
from whisper_service.engine.cpu.comparison import (
    DiffersError,
    clear,
    is_close,
    metadata,
    random_states,
)
from whisper_service.engine.cpu.kernels.audio_cache import attend, write
from whisper_service.engine.cpu.kernels.eight_bits import LANES, WIDTH
from whisper_service.engine.cpu.kernels.number_bits import LOG2_E
from whisper_service.engine.cpu.kernels.vectors import has_vnni

_QUERIES, _POSITIONS = 3, 70  # that it is compared with vLLM's for
_ERROR = 0.15  # of vLLM's fp8: numbers with three bits of mantissa


def use_integer_cross_attention(layers: Sequence[Any]) -> bool:
    """Replaces vLLM's in the decoder's layers, where the processor has the instructions.

    Args:
        layers: of vLLM's WhisperDecoder.

    Returns:
        Whether it has.

    Raises:
        DiffersError: it computes something else than vLLM's.
    """
    attentions = [layer.encoder_attn.attn for layer in layers]
    if not has_vnni() or not all(map(_can, attentions)):
        return False
    _compare(attentions[0])
    for attention in attentions:
        attention.impl.forward = IntegerCrossAttention(attention.kv_cache, attention.impl.scale)
    return True


def _compare(attention: Any) -> None:
    heads, cache, impl = attention.num_heads, attention.kv_cache, attention.impl
    key, value = random_states(_POSITIONS, 2, heads, WIDTH, dtype=attention.dtype).unbind(1)
    query = random_states(_QUERIES, heads, WIDTH, dtype=attention.dtype)
    step = metadata(attention, _QUERIES, _POSITIONS, causal=False)
    theirs, ours = torch.empty_like(query), torch.empty_like(query)
    impl.do_kv_cache_update(attention, key, value, cache, step.slot_mapping)
    impl.forward(attention, query, key, value, cache, step, theirs)
    own = IntegerCrossAttention(cache, impl.scale)
    own(attention, query, key, value, cache, step, ours)
    clear([attention], _POSITIONS)
    if not is_close(ours, theirs, _ERROR):
        raise DiffersError("its outputs differ")


def _can(attention: Any) -> bool:
    kv_cache: Tensor = attention.kv_cache
    return (
        kv_cache.device.type == "cpu"
        and attention.dtype == torch.bfloat16
        and kv_cache.element_size() == 1
        and kv_cache.dim() == 4
        and kv_cache.shape[3] == 2 * WIDTH
        and kv_cache.shape[2] % LANES == 0
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
        self._factor = np.float32(scale) * LOG2_E

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
        attend(
            bits_of(query[:tokens]),
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
        write(
            bits_of(key),
            bits_of(value),
            key.stride(0),
            slots[: len(key)].numpy(),
            self._sizes,
            self._cache,
            self._scales,
        )
