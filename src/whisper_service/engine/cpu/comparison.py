"""Whether a replacement computes what vLLM's own does, on a small random input.

vLLM's attention is called as its runner calls it, on blocks of its own cache. Nobody uses these
while the engine starts; afterwards they are cleared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_SEED = 20


class DiffersError(Exception):
    """The replacement does not compute what vLLM's own does."""


def is_close(ours: Tensor, theirs: Tensor, error: float) -> bool:
    """Whether they differ by at most this share of `theirs`, as a whole; never where one is NaN."""
    exact = theirs.float()
    return bool((ours.float() - exact).norm() <= error * exact.norm())


def random_states(*shape: int, dtype: torch.dtype) -> Tensor:
    """float[shape], always the same ones."""
    generator = torch.Generator().manual_seed(_SEED + len(shape) + shape[0])
    return torch.randn(*shape, generator=generator).to(dtype)


def metadata(attention: Any, tokens: int, positions: int, *, causal: bool) -> Any:
    """VLLM's attention metadata of one request, whose positions lie from block 0 on.

    Args:
        attention: a decoder layer's vLLM attention, on the CPU.
        tokens: queries of the request, its last ones.
        positions: keys and values, all in the cache; those that are written are the first of them.
        causal: whether a query sees only what is before it.
    """
    from vllm import _custom_ops as ops
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionMetadata

    size = attention.kv_cache.shape[2]
    starts = torch.tensor([0, tokens], dtype=torch.int32)
    lengths = torch.tensor([positions], dtype=torch.int32)
    schedule = ops.cpu_attn_get_scheduler_metadata(
        num_reqs=1,
        num_heads=attention.num_heads,
        num_kv_heads=attention.num_kv_heads,
        head_dim=attention.head_size,
        seq_lens=lengths,
        dtype=attention.dtype,
        query_start_loc=starts,
        causal=causal,
        sliding_window_size=-1,
        isa=attention.isa,
        enable_kv_split=False,
        kv_cache_dtype=attention.kv_cache_dtype,
    )
    return CPUAttentionMetadata(
        num_actual_tokens=tokens,
        max_query_len=tokens,
        query_start_loc=starts,
        max_seq_len=positions,
        seq_lens=lengths,
        block_table=torch.arange(-(-positions // size), dtype=torch.int32)[None],
        slot_mapping=torch.arange(positions),
        scheduler_metadata=schedule,
        causal=causal,
    )


@contextmanager
def step(vllm_config: Any, layers: Mapping[str, Any]) -> Iterator[None]:
    """A step of vLLM's: within it, its attention layers find the metadata by their names."""
    from vllm.forward_context import set_forward_context

    slots = {name: each.slot_mapping for name, each in layers.items()}
    with set_forward_context(dict(layers), vllm_config, slot_mapping=slots):
        yield


def clear(attentions: Sequence[Any], positions: int) -> None:
    """Zeros in the blocks that so many positions were written to."""
    for attention in attentions:
        blocks = -(-positions // attention.kv_cache.shape[2])
        attention.kv_cache[:blocks].view(torch.uint8).zero_()
