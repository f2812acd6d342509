"""A linear layer of few rows gives what vLLM's own product does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from whisper_service.engine.kernels.vectors import has_bfloat16
from whisper_service.engine.packed_weights import PackedLinear, fills_blocks, packed

pytestmark = [
    pytest.mark.slow,  # kernels are compiled
    pytest.mark.skipif(not has_bfloat16(), reason="a processor without AVX512-BF16"),
]

WIDTH = 96


def layer(outputs: int, *, bias: bool = True) -> Any:
    """As vLLM leaves one: its weights are in its product alone."""
    torch.manual_seed(outputs)
    weight = torch.randn(outputs, WIDTH).bfloat16()
    calls: list[int] = []

    def run(rows: Tensor, _: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(len(rows))
        return functional.linear(rows, weight, bias)

    return SimpleNamespace(
        cpu_linear=run,
        input_size=WIDTH,
        weight=torch.empty(0),
        bias=torch.randn(outputs).bfloat16() if bias else None,
        kept=weight,
        calls=calls,
    )


@pytest.mark.parametrize("outputs", [64, 192])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 11, 16, 24])
def test_few_rows_are_multiplied_here(rows: int, outputs: int, bias: bool) -> None:
    own = layer(outputs, bias=bias)
    linear = PackedLinear(own)
    states = torch.randn(rows, WIDTH).bfloat16()
    exact = functional.linear(
        states.float(), own.kept.float(), None if own.bias is None else own.bias.float()
    )
    own.calls.clear()
    found = linear(states)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), exact, rtol=2**-8, atol=1e-5)
    assert own.calls == []


@pytest.mark.parametrize("rows", [0, 25, 200])
def test_other_numbers_of_rows_are_left_to_vllm(rows: int) -> None:
    own = layer(64)
    states = torch.randn(rows, WIDTH).bfloat16()
    linear = PackedLinear(own)
    own.calls.clear()
    assert torch.equal(linear(states), own.cpu_linear(states, own.weight, own.bias))
    assert own.calls == [rows, rows]


def test_rows_may_lie_apart() -> None:
    linear, states = PackedLinear(layer(64)), torch.randn(10, WIDTH).bfloat16()
    assert torch.equal(linear(states[::2]), linear(states[::2].contiguous()))


def test_the_last_block_is_filled_up() -> None:
    weight = torch.randn(70, WIDTH).bfloat16()
    blocks = packed(weight)
    assert blocks.shape == (2, WIDTH // 2, 64, 2)
    assert torch.equal(blocks[1, :, 5].flatten(), weight[69])
    assert not blocks[1, :, 6:].any()


@pytest.mark.parametrize(
    ("outputs", "width", "fills"),
    [(64, 96, True), (192, 2, True), (100, 96, False), (64, 3, False)],
)
def test_layers_of_another_shape_are_left_to_vllm(outputs: int, width: int, fills: bool) -> None:
    assert fills_blocks(SimpleNamespace(output_size=outputs, input_size=width)) is fills
