"""Weights in their own order: the same embeddings, the same products, and exacter logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from whisper_service.engine.cpu import packed_layers
from whisper_service.engine.cpu.comparison import DiffersError
from whisper_service.engine.cpu.packed_layers import (
    PackedLinear,
    PackedVocabulary,
    can_pack,
    fills_blocks,
    packed,
    use_packed_vocabulary,
)

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


@pytest.mark.slow  # kernels are compiled
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


@pytest.mark.slow  # kernels are compiled
@pytest.mark.parametrize("rows", [0, 25, 200])
def test_other_numbers_of_rows_are_left_to_vllm(rows: int) -> None:
    own = layer(64)
    states = torch.randn(rows, WIDTH).bfloat16()
    linear = PackedLinear(own)
    own.calls.clear()
    assert torch.equal(linear(states), own.cpu_linear(states, own.weight, own.bias))
    assert own.calls == [rows, rows]


@pytest.mark.slow  # kernels are compiled
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


def weights(tokens: int, width: int = 32) -> Tensor:
    torch.manual_seed(tokens)
    return torch.randn(tokens, width).bfloat16()


def model(weight: Tensor, head: Tensor | None = None, **parts: Any) -> Any:
    embeddings = nn.Embedding.from_pretrained(weight)
    output = SimpleNamespace(
        weight=embeddings.weight if head is None else head, cpu_linear=nn.functional.linear
    )
    vars(output).update(parts)
    decoder = SimpleNamespace(embed_tokens=embeddings)
    return SimpleNamespace(model=SimpleNamespace(decoder=decoder), proj_out=output)


@pytest.mark.parametrize("tokens", [1, 63, 64, 130])
@pytest.mark.parametrize("shape", [(7,), (2, 3), (0,)])
def test_embeddings_are_what_they_were(tokens: int, shape: tuple[int, ...]) -> None:
    weight = weights(tokens)
    wanted = torch.randint(tokens, shape)
    assert torch.equal(PackedVocabulary(weight)(wanted), weight[wanted])


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 130, 300])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 6, 7, 12, 16, 23])
@pytest.mark.slow
def test_logits_are_the_products(tokens: int, rows: int) -> None:
    weight, states = weights(tokens), weights(rows + 1000)[:rows]
    logits = PackedVocabulary(weight).logits(states)
    assert logits.dtype == torch.float32
    exact = states.double() @ weight.double().T
    assert torch.allclose(logits.double(), exact, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
def test_rows_of_logits_may_lie_apart() -> None:
    packed, states = PackedVocabulary(weights(70)), weights(10)
    assert torch.equal(packed.logits(states[::2]), packed.logits(states[::2].contiguous()))


@pytest.mark.slow
def test_a_model_that_uses_it_keeps_no_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_layers, "can_pack", lambda dtype: dtype == torch.bfloat16)
    weight = weights(100)
    whisper = model(weight)
    logits = whisper.proj_out.cpu_linear(weight[:3], whisper.proj_out.weight, None).float()
    assert use_packed_vocabulary(whisper)
    assert whisper.proj_out.weight.numel() == 0
    found = whisper.proj_out.cpu_linear(weight[:3], whisper.proj_out.weight, None)
    assert torch.allclose(found, logits, rtol=0.01, atol=0.01)
    tokens = torch.tensor([5, 99])
    assert torch.equal(whisper.model.decoder.embed_tokens(tokens), weight[tokens])


@pytest.mark.parametrize(
    ("dtype", "instructions", "amx", "can"),
    [
        (torch.bfloat16, True, False, True),
        (torch.bfloat16, True, True, False),
        (torch.bfloat16, False, False, False),
        (torch.float32, True, False, False),
    ],
)
def test_weights_are_packed_where_there_are_the_instructions_and_nothing_better(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, instructions: bool, amx: bool, can: bool
) -> None:
    monkeypatch.setattr(packed_layers, "has_bfloat16", lambda: instructions)
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(_is_amx_tile_supported=lambda: amx))
    assert can_pack(dtype) is can


@pytest.mark.slow  # kernels are compiled
def test_it_is_not_used_where_vllms_product_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_layers, "can_pack", lambda _: True)
    weight = weights(100)
    whisper = model(weight, cpu_linear=lambda rows, kept, _: rows @ kept.T * 1.1)
    before = dict(vars(whisper.proj_out))
    with pytest.raises(DiffersError, match="logits"):
        use_packed_vocabulary(whisper)
    assert vars(whisper.proj_out) == before


@pytest.mark.parametrize(
    "whisper",
    [
        model(weights(100).float()),
        model(weights(100), head=weights(100)),
        model(weights(100), cpu_linear=None),
    ],
    ids=["float32", "untied", "quantised"],
)
def test_what_does_not_fit_stays_as_it_is(whisper: Any) -> None:
    if whisper.proj_out.cpu_linear is None:
        del whisper.proj_out.cpu_linear
    before = dict(vars(whisper.proj_out))
    assert not use_packed_vocabulary(whisper)
    assert vars(whisper.proj_out) == before
