"""What is written to the cache is the nearest that it can hold, in the place that vLLM reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from whisper_service.engine.cpu.cache_writes import RoundedWriter, use_rounded_cache_writes
from whisper_service.engine.cpu.comparison import DiffersError

BLOCKS, HEADS, SIZE, WIDTH = 12, 2, 32, 8
LARGEST = 448.0


def empty() -> Tensor:
    return torch.zeros(BLOCKS, HEADS, SIZE, 2 * WIDTH, dtype=torch.uint8)


def rows(tokens: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Keys and values as views of one product."""
    torch.manual_seed(tokens)
    both = (torch.randn(tokens, 2 * HEADS * WIDTH) * 3).to(dtype)
    key, value = (half.view(tokens, HEADS, WIDTH) for half in both.split(HEADS * WIDTH, dim=-1))
    return key, value


def read(cache: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """The keys and values of the slots, as vLLM's kernel finds them."""
    halves = cache.view(BLOCKS, HEADS, 2, SIZE * WIDTH).view(torch.float8_e4m3fn)
    keys = halves[:, :, 0].reshape(BLOCKS, HEADS, WIDTH, SIZE).permute(0, 3, 1, 2)
    values = halves[:, :, 1].reshape(BLOCKS, HEADS, SIZE, WIDTH).permute(0, 2, 1, 3)
    flat = (each.float().reshape(BLOCKS * SIZE, HEADS, WIDTH)[slots] for each in (keys, values))
    return next(flat), next(flat)


def nearest(numbers: Tensor) -> Tensor:
    return numbers.float().clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn).float()


def in_order(tokens: int) -> Tensor:
    return torch.arange(tokens)


def in_blocks_of_any_order(tokens: int) -> Tensor:
    blocks = torch.randperm(BLOCKS)[:, None] * SIZE + torch.arange(SIZE)
    return blocks.flatten()[:tokens]


def anywhere(tokens: int) -> Tensor:
    return torch.randperm(BLOCKS * SIZE)[:tokens].sort().values


def from_the_middle_of_a_block(tokens: int) -> Tensor:
    return torch.arange(SIZE // 2, SIZE // 2 + tokens)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "slots", [in_order, in_blocks_of_any_order, anywhere, from_the_middle_of_a_block]
)
def test_the_nearest_numbers_are_in_their_places(slots: Any, dtype: torch.dtype) -> None:
    write = RoundedWriter(HEADS, WIDTH, SIZE)
    for tokens in (1, 5, 64, 65, 200, 300):
        torch.manual_seed(tokens)
        cache, places = empty(), slots(tokens)
        key, value = rows(tokens, dtype)
        write(None, key, value, cache, places)
        keys, values = read(cache, places)
        assert torch.equal(keys, nearest(key))
        assert torch.equal(values, nearest(value))
        others = torch.ones(BLOCKS * SIZE, dtype=torch.bool)
        others[places] = False
        assert not torch.cat(read(cache, others.nonzero().flatten())).any()


def test_every_bfloat16_becomes_the_nearest() -> None:
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    numbers = bits[bits.isfinite()]
    numbers = numbers[: len(numbers) // (HEADS * WIDTH) * HEADS * WIDTH].view(-1, HEADS, WIDTH)
    write = RoundedWriter(HEADS, WIDTH, SIZE)
    for part in numbers.split(BLOCKS * SIZE):
        cache, slots = empty(), in_order(len(part))
        write(None, part, part, cache, slots)
        for found in read(cache, slots):
            assert torch.equal(found, nearest(part))


def test_tokens_without_a_slot_are_not_kept() -> None:
    cache, (key, value) = empty(), rows(4, torch.bfloat16)
    slots = torch.tensor([-1, 3, -1, 4])
    RoundedWriter(HEADS, WIDTH, SIZE)(None, key, value, cache, slots)
    keys, values = read(cache, torch.arange(BLOCKS * SIZE))
    assert torch.equal(keys[3:5], nearest(key[[1, 3]]))
    assert torch.equal(values[3:5], nearest(value[[1, 3]]))
    assert not keys[:3].any()
    assert not keys[5:].any()


def test_a_block_that_begins_is_cleared() -> None:
    """A layer of another kind may have had it, whose bytes may be no numbers here."""
    cache, (key, value) = empty().fill_(0xFF), rows(3, torch.bfloat16)
    slots = torch.arange(2 * SIZE, 2 * SIZE + 3)
    RoundedWriter(HEADS, WIDTH, SIZE)(None, key, value, cache, slots)
    keys, values = read(cache, torch.arange(2 * SIZE, 3 * SIZE))
    assert torch.equal(values[:3], nearest(value))
    assert not keys[3:].any()
    assert not values[3:].any()
    assert (cache[[0, 1, *range(3, BLOCKS)]] == 0xFF).all()
    again = torch.tensor([2 * SIZE + 3])
    RoundedWriter(HEADS, WIDTH, SIZE)(None, key[:1], value[:1], cache, again)
    assert torch.equal(read(cache, slots)[1], nearest(value))


def test_slots_without_a_key_are_left_alone() -> None:
    cache, (key, value) = empty(), rows(2, torch.bfloat16)
    RoundedWriter(HEADS, WIDTH, SIZE)(None, key, value, cache, torch.arange(SIZE))
    assert not read(cache, torch.arange(2, SIZE))[1].any()


def test_nothing_to_write_is_nothing_written() -> None:
    cache, (key, value) = empty(), rows(0, torch.bfloat16)
    RoundedWriter(HEADS, WIDTH, SIZE)(None, key, value, cache, torch.empty(0, dtype=torch.int64))
    assert not cache.any()


class Impl:
    """Whose own kernel writes as vLLM's does where nothing is to be rounded, or otherwise."""

    def __init__(self, *, turned: bool) -> None:
        self._write = RoundedWriter(HEADS, WIDTH, SIZE)
        self._turned = turned

    def do_kv_cache_update(
        self, layer: Any, key: Tensor, value: Tensor, cache: Tensor, slots: Tensor
    ) -> None:
        self._write(layer, *((value, key) if self._turned else (key, value)), cache, slots)


def layers(*, turned: bool = False, **changes: Any) -> list[Any]:
    def attention() -> Any:
        return SimpleNamespace(
            **{
                "impl": Impl(turned=turned),
                "kv_cache": empty(),
                "dtype": torch.bfloat16,
                "kv_cache_dtype": "fp8_e4m3",
                "isa": "vec",
                "_k_scale_float": 1.0,
                "_v_scale_float": 1.0,
                **changes,
            }
        )

    def part() -> Any:
        return SimpleNamespace(attn=attention())

    return [SimpleNamespace(self_attn=part(), encoder_attn=part()) for _ in range(2)]


def test_it_is_used_in_every_layer_whose_cache_is_such_a_one() -> None:
    those = layers()
    assert use_rounded_cache_writes(those)
    for layer in those:
        for each in (layer.self_attn, layer.encoder_attn):
            assert isinstance(each.attn.impl.do_kv_cache_update, RoundedWriter)


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_cache_dtype": "auto"},
        {"isa": "amx"},
        {"_k_scale_float": 0.5},
        {"dtype": torch.float16},
        {"kv_cache": torch.empty(BLOCKS, HEADS, SIZE, 2 * WIDTH, device="meta")},
        {"kv_cache": empty().transpose(1, 2)},
    ],
)
def test_it_is_not_used_for_other_caches(changes: dict[str, Any]) -> None:
    those = layers(**changes)
    assert not use_rounded_cache_writes(those)
    assert "do_kv_cache_update" not in vars(those[0].self_attn.attn.impl)


def test_it_is_not_used_where_vllm_lays_its_cache_out_differently() -> None:
    those = layers(turned=True)
    with pytest.raises(DiffersError, match="layout"):
        use_rounded_cache_writes(those)
    assert "do_kv_cache_update" not in vars(those[0].self_attn.attn.impl)
