"""vLLM's attention, called as its runner calls it, is attention."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from whisper_service.engine.cpu.comparison import clear, is_close, metadata, random_states

HEADS, WIDTH, SIZE = 2, 64, 32
SCALE = 0.125


@pytest.mark.parametrize(
    ("ours", "close"),
    [([1.0, 1.0], True), ([1.0, 1.02], True), ([1.0, 1.2], False), ([1.0, math.nan], False)],
)
def test_numbers_are_close_that_differ_by_a_small_share(ours: list[float], close: bool) -> None:
    assert is_close(torch.tensor(ours), torch.ones(2), 0.03) is close


def test_random_states_are_the_same_in_every_process() -> None:
    one, other = (random_states(3, 4, dtype=torch.float32) for _ in range(2))
    assert torch.equal(one, other)
    assert one.std() > 0.1


@pytest.fixture
def attention() -> Any:
    """One layer's of vLLM's, with a cache of float32, which every processor can have."""
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl, _get_attn_isa

    impl = CPUAttentionBackendImpl.__new__(CPUAttentionBackendImpl)
    vars(impl).update(
        scale=SCALE,
        attn_type="encoder_decoder",
        kv_cache_dtype="auto",
        sinks=None,
        alibi_slopes=None,
        sliding_window=-1,
        logits_soft_cap=0,
    )
    return SimpleNamespace(
        impl=impl,
        kv_cache=torch.zeros(4, HEADS, SIZE, 2 * WIDTH),
        kv_cache_dtype="auto",
        dtype=torch.float32,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        head_size=WIDTH,
        isa=_get_attn_isa(torch.float32, SIZE, WIDTH, "auto"),
        _k_scale_float=1.0,
        _v_scale_float=1.0,
    )


def exact(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    mask = torch.ones(len(query), len(key), dtype=torch.bool)
    mask = mask.tril(len(key) - len(query)) if causal else mask
    q, k, v = (each.transpose(0, 1) for each in (query, key, value))
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=SCALE).transpose(0, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports
@pytest.mark.parametrize(("queries", "positions", "causal"), [(3, 70, False), (4, 4, True)])
def test_vllms_attention_can_be_called_for_one_request(
    attention: Any, queries: int, positions: int, causal: bool
) -> None:
    key, value = random_states(positions, 2, HEADS, WIDTH, dtype=torch.float32).unbind(1)
    query = random_states(queries, HEADS, WIDTH, dtype=torch.float32)
    step = metadata(attention, queries, positions, causal=causal)
    output = torch.empty_like(query)
    cache = attention.kv_cache
    attention.impl.do_kv_cache_update(attention, key, value, cache, step.slot_mapping)
    attention.impl.forward(attention, query, key, value, cache, step, output)
    assert is_close(output, exact(query, key, value, causal=causal), 1e-5)
    assert cache.any()
    clear([attention], positions)
    assert not cache.any()
