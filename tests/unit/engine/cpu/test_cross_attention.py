"""Attention to keys and values of eight bits is attention, wherever vLLM puts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from whisper_service.engine.cpu import cross_attention
from whisper_service.engine.cpu.comparison import DiffersError
from whisper_service.engine.cpu.cross_attention import (
    IntegerCrossAttention,
    use_integer_cross_attention,
)

BLOCKS, HEADS, SIZE, WIDTH = 9, 3, 32, 64
SCALE = 0.125
ERROR = 0.015  # of eight bits in queries, keys and values


def empty() -> Tensor:
    return torch.zeros(BLOCKS, HEADS, SIZE, 2 * WIDTH, dtype=torch.float8_e4m3fn)


@dataclass
class Windows:
    """Windows of so many positions each, in blocks of any order, and what is asked of them."""

    lengths: list[int]
    queries: list[int]  # of each window
    spread: float = 1.0
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(sum(self.lengths))
        blocks = torch.randperm(BLOCKS, dtype=torch.int32)
        most = max(-(-length // SIZE) for length in self.lengths)
        self.table = torch.zeros(len(self.lengths), most, dtype=torch.int32)
        for row, length in zip(self.table, self.lengths, strict=True):
            needed = -(-length // SIZE)
            row[:needed], blocks = blocks[:needed], blocks[needed:]
        joined = (torch.randn(sum(self.lengths), 2 * HEADS * WIDTH) * self.spread).bfloat16()
        self.key, self.value = joined.view(-1, 2, HEADS, WIDTH).unbind(1)
        self.query = torch.randn(sum(self.queries), HEADS, WIDTH).bfloat16()

    def slots(self) -> Tensor:
        places = [torch.arange(length) for length in self.lengths]
        return torch.cat(
            [
                row[place // SIZE].long() * SIZE + place % SIZE
                for row, place in zip(self.table, places, strict=True)
            ]
        )

    def metadata(self, slots: Tensor) -> Any:
        starts = torch.tensor([0, *self.queries]).cumsum(0).int()
        return SimpleNamespace(
            num_actual_tokens=sum(self.queries),
            query_start_loc=starts,
            seq_lens=torch.tensor(self.lengths, dtype=torch.int32),
            block_table=self.table,
            slot_mapping=slots,
        )

    def exact(self, kept_as: torch.dtype = torch.float32) -> Tensor:
        parts = zip(
            self.query.float().split(self.queries),
            self.key.to(kept_as).float().split(self.lengths),
            self.value.to(kept_as).float().split(self.lengths),
            strict=True,
        )
        mixed = []
        for query, key, value in parts:
            weights = (torch.einsum("qhd,khd->hqk", query, key) * SCALE).softmax(-1)
            mixed.append(torch.einsum("hqk,khd->qhd", weights, value))
        return torch.cat(mixed)


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact).norm() / exact.norm())


@pytest.mark.slow  # kernels are compiled
@pytest.mark.parametrize(
    "windows",
    [
        Windows([SIZE], [1]),
        Windows([SIZE * 2 + 5, 1, SIZE - 1], [1, 1, 1]),
        Windows([SIZE + 16, 70], [5, 1]),
        Windows([17, 100], [1, 30]),
        Windows([80, 80], [1, 1], spread=0.01),
    ],
    ids=lambda windows: f"{windows.lengths}, {windows.queries}",
)
def test_it_is_attention(windows: Windows) -> None:
    attention, output = IntegerCrossAttention(empty(), SCALE), torch.empty_like(windows.query)
    key, value, metadata = windows.key, windows.value, windows.metadata(windows.slots())
    first = attention(None, windows.query, key, value, None, metadata, output)
    assert error(first, windows.exact()) < ERROR
    nothing_new = windows.metadata(torch.empty(0, dtype=torch.int64))
    again = attention(None, windows.query, None, None, None, nothing_new, torch.zeros_like(output))
    assert torch.equal(first, again)


@pytest.mark.slow  # kernels are compiled
@pytest.mark.parametrize("spread", [0.5, 1, 4, 10])
def test_it_is_nearer_than_with_keys_and_values_of_fp8(spread: float) -> None:
    windows = Windows([100, 90], [3, 2], spread=spread)
    attention, output = IntegerCrossAttention(empty(), SCALE), torch.empty_like(windows.query)
    metadata = windows.metadata(windows.slots())
    attention(None, windows.query, windows.key, windows.value, None, metadata, output)
    exact = windows.exact()
    assert error(output, exact) < 0.7 * error(windows.exact(torch.float8_e4m3fn), exact)


@pytest.mark.slow  # kernels are compiled
def test_another_window_in_the_same_blocks_takes_the_place_of_the_one_before() -> None:
    attention = IntegerCrossAttention(empty(), SCALE)
    for spread in (5, 0.01):
        windows = Windows([90], [2], spread=spread)
        output = torch.empty_like(windows.query)
        attention.write(windows.key, windows.value, windows.slots())
        attention(None, windows.query, None, None, None, windows.metadata(windows.slots()), output)
        assert error(output, windows.exact()) < ERROR


@pytest.mark.slow  # kernels are compiled
def test_a_query_or_keys_that_are_nothing_look_everywhere() -> None:
    windows = Windows([40], [1])
    windows.query.zero_()
    attention, output = IntegerCrossAttention(empty(), SCALE), torch.empty_like(windows.query)
    attention.write(windows.key, windows.value, windows.slots())
    metadata = windows.metadata(windows.slots())
    attention(None, windows.query, None, None, None, metadata, output)
    assert error(output, windows.value.float().mean(0)[None]) < ERROR
    windows.key.zero_()
    attention.write(windows.key, windows.value, windows.slots())
    attention(None, windows.query + 1, None, None, None, metadata, output)
    assert error(output, windows.value.float().mean(0)[None]) < ERROR
    windows.value.zero_()
    attention.write(windows.key, windows.value, windows.slots())
    attention(None, windows.query + 1, None, None, None, metadata, output)
    assert not output.any()


@pytest.mark.slow  # kernels are compiled
def test_one_position_far_above_all_others_is_all_that_counts() -> None:
    windows = Windows([60], [1])
    windows.key.zero_()
    windows.key[33] = 30
    windows.query.fill_(1)
    attention, output = IntegerCrossAttention(empty(), SCALE), torch.empty_like(windows.query)
    attention.write(windows.key, windows.value, windows.slots())
    attention(None, windows.query, None, None, None, windows.metadata(windows.slots()), output)
    assert error(output, windows.value[33].float()[None]) < ERROR


@pytest.mark.slow  # kernels are compiled
def test_positions_without_a_slot_are_not_kept() -> None:
    windows = Windows([SIZE], [1])
    slots = windows.slots()
    kv_cache = empty()
    IntegerCrossAttention(kv_cache, SCALE).write(
        windows.key, windows.value, torch.full_like(slots, -1)
    )
    assert not kv_cache.view(torch.uint8).any()


def test_while_vllm_warms_up_there_is_nothing_to_attend_to() -> None:
    output = torch.ones(2, HEADS, WIDTH, dtype=torch.bfloat16)
    attention = IntegerCrossAttention(empty(), SCALE)
    assert attention(None, output, None, None, None, None, output) is output
    assert (output == 1).all()


def layers(**changes: Any) -> list[Any]:
    def layer() -> Any:
        attention = SimpleNamespace(
            **{
                "impl": SimpleNamespace(scale=SCALE, forward=None),
                "kv_cache": empty(),
                "dtype": torch.bfloat16,
                **changes,
            }
        )
        return SimpleNamespace(encoder_attn=SimpleNamespace(attn=attention))

    return [layer() for _ in range(2)]


def test_it_is_used_in_every_layer_where_there_are_the_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cross_attention, "has_vnni", lambda: True)
    monkeypatch.setattr(cross_attention, "_compare", lambda _: None)
    those = layers()
    assert use_integer_cross_attention(those)
    for layer in those:
        assert isinstance(layer.encoder_attn.attn.impl.forward, IntegerCrossAttention)
    monkeypatch.setattr(cross_attention, "has_vnni", lambda: False)
    assert not use_integer_cross_attention(layers())


class Theirs:
    """vLLM's kernel on an fp8 cache, which needs AVX-512: exact attention, times a factor."""

    def __init__(self, factor: float) -> None:
        self.scale, self._factor = SCALE, factor

    def do_kv_cache_update(self, _: Any, key: Tensor, value: Tensor, *__: Any) -> None:
        self._key, self._value = key.float(), value.float()

    def forward(self, _: Any, query: Tensor, *rest: Any) -> None:
        weights = (torch.einsum("qhd,khd->hqk", query.float(), self._key) * SCALE).softmax(-1)
        rest[-1].copy_(torch.einsum("hqk,khd->qhd", weights, self._value) * self._factor)


@pytest.mark.slow  # kernels are compiled
@pytest.mark.parametrize(("factor", "differs"), [(1.0, False), (1.3, True)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports
def test_it_is_compared_with_vllms_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch, factor: float, differs: bool
) -> None:
    monkeypatch.setattr(cross_attention, "has_vnni", lambda: True)
    monkeypatch.setattr(cross_attention, "metadata", lambda *_, **__: whole_window())
    those = layers(impl=Theirs(factor), num_heads=HEADS)
    if differs:
        with pytest.raises(DiffersError):
            use_integer_cross_attention(those)
        assert "forward" not in vars(those[0].encoder_attn.attn.impl)
    else:
        assert use_integer_cross_attention(those)
    assert not those[0].encoder_attn.attn.kv_cache.view(torch.uint8).any()


def whole_window() -> Any:
    """As `comparison.metadata` has it, without what vLLM's kernel alone reads."""
    positions, queries = cross_attention._POSITIONS, cross_attention._QUERIES
    return SimpleNamespace(
        num_actual_tokens=queries,
        query_start_loc=torch.tensor([0, queries], dtype=torch.int32),
        seq_lens=torch.tensor([positions], dtype=torch.int32),
        block_table=torch.arange(-(-positions // SIZE), dtype=torch.int32)[None],
        slot_mapping=torch.arange(positions),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": torch.float32},
        {"kv_cache": empty().bfloat16()},
        {"kv_cache": empty().to("meta")},
        {"kv_cache": empty().transpose(1, 2)},
        {"kv_cache": empty()[..., :WIDTH].contiguous()},
        {"kv_cache": torch.zeros(BLOCKS, HEADS, 24, 2 * WIDTH, dtype=torch.float8_e4m3fn)},
        {"kv_cache": torch.zeros(0)},
    ],
)
def test_it_is_not_used_for_other_caches(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(cross_attention, "has_vnni", lambda: True)
    those = layers(**changes)
    assert not use_integer_cross_attention(those)
    assert those[0].encoder_attn.attn.impl.forward is None
