"""One head at a time is the same attention as all at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from whisper_service.engine.cpu.comparison import DiffersError
from whisper_service.engine.cpu.encoder_attention import HeadwiseAttention, use_headwise_attention

HEADS, WIDTH, POSITIONS = 4, 32, 50
SCALE = 0.3


def inputs(windows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """As vLLM gives them: views of one product."""
    torch.manual_seed(0)
    query, key, value = torch.randn(windows, POSITIONS, 3 * WIDTH, dtype=dtype).chunk(3, dim=-1)
    return query, key, value


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (query, key, value))
    return scaled_dot_product_attention(q, k, v, scale=SCALE).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("together", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("windows", [1, 3])
def test_it_is_the_fused_attention(windows: int, together: int) -> None:
    those = inputs(windows)
    mixed = HeadwiseAttention(HEADS, SCALE, together)(*those)
    torch.testing.assert_close(mixed, fused(*those))


def test_one_window_may_come_without_its_dimension() -> None:
    query, key, value = (each[0] for each in inputs(1))
    mixed = HeadwiseAttention(HEADS, SCALE)(query, key, value, cu_seqlens=None)
    torch.testing.assert_close(mixed, fused(query[None], key[None], value[None])[0])


def test_bfloat16_is_as_near_to_the_truth_as_its_rounding() -> None:
    those = inputs(2, torch.bfloat16)
    mixed = HeadwiseAttention(HEADS, SCALE)(*those).float()
    exact = fused(*(each.float() for each in those))
    assert (mixed - exact).norm() < 0.01 * exact.norm()


def test_its_inputs_stay_as_they_are() -> None:
    those = inputs(1)
    before = [each.clone() for each in those]
    HeadwiseAttention(HEADS, SCALE)(*those)
    for each, was in zip(those, before, strict=True):
        torch.testing.assert_close(each, was, rtol=0, atol=0)


class Fused(nn.Module):
    """vLLM's own, or what it might become."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return fused(query, key, value) * self._factor


class Layer(nn.Module):
    def __init__(self, dtype: torch.dtype, width: int) -> None:
        super().__init__()
        self.self_attn = nn.Linear(WIDTH, WIDTH, dtype=dtype)
        self.self_attn.attn = Fused()
        self.self_attn.num_heads, self.self_attn.scaling = HEADS, SCALE  # type: ignore[assignment]
        self.self_attn.head_dim = width  # type: ignore[assignment]


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """One that has all that is asked for."""
    flags = SimpleNamespace(
        _is_avx512_bf16_supported=lambda: True, _is_amx_tile_supported=lambda: False
    )
    monkeypatch.setattr(torch, "cpu", flags)
    return flags


def kinds(layers: list[Layer]) -> set[type]:
    return {type(layer.self_attn.attn) for layer in layers}


@pytest.mark.usefixtures("processor")
def test_it_is_used_in_every_layer_where_it_is_the_faster_one() -> None:
    layers = [Layer(torch.bfloat16, 64), Layer(torch.bfloat16, 64)]
    assert use_headwise_attention(layers)
    assert kinds(layers) == {HeadwiseAttention}


@pytest.mark.usefixtures("processor")
def test_it_is_not_used_where_vllms_computes_something_else() -> None:
    layers = [Layer(torch.bfloat16, 64), Layer(torch.bfloat16, 64)]
    layers[0].self_attn.attn = Fused(1.1)
    with pytest.raises(DiffersError):
        use_headwise_attention(layers)
    assert kinds(layers) == {Fused}


@pytest.mark.parametrize(
    ("dtype", "bf16", "amx"),
    [
        (torch.bfloat16, True, True),
        (torch.bfloat16, False, False),
        (torch.float32, True, False),
    ],
)
def test_vllms_stays_where_it_is_the_faster_one(
    processor: SimpleNamespace, dtype: torch.dtype, bf16: bool, amx: bool
) -> None:
    processor._is_avx512_bf16_supported = lambda: bf16
    processor._is_amx_tile_supported = lambda: amx
    layers = [Layer(dtype, 64), Layer(dtype, 64)]
    assert not use_headwise_attention(layers)
    assert kinds(layers) == {Fused}
