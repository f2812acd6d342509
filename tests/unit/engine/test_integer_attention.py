"""The encoder's attention with scores of eight bits is as near to the truth as with bfloat16's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from whisper_service.engine.encoder_attention import HeadwiseAttention
from whisper_service.engine.integer_attention import IntegerAttention, can_attend
from whisper_service.engine.kernels.vectors import has_vnni

pytestmark = [
    pytest.mark.slow,  # kernels are compiled
    pytest.mark.skipif(not has_vnni(), reason="a processor without AVX512-VNNI"),
]

HEADS, WIDTH = 3, 64
SCALE = 0.125


def inputs(windows: int, positions: int, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """As vLLM gives them: views of one product."""
    torch.manual_seed(positions)
    joined = torch.randn(windows, positions, 3 * HEADS * WIDTH).bfloat16()
    query, key, value = joined.chunk(3, dim=-1)
    query *= spread
    key += 10 * torch.randn(HEADS * WIDTH).bfloat16()  # Whisper's have much in common
    return query, key, value


def exact(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (
        each.float().unflatten(-1, (HEADS, WIDTH)).transpose(1, 2) for each in (query, key, value)
    )
    return scaled_dot_product_attention(q, k, v, scale=SCALE).transpose(1, 2).flatten(2)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted).norm() / wanted.norm())


# A tile has 64 keys, a register 16, a row of tiles six queries.
@pytest.mark.parametrize("positions", [1, 5, 6, 16, 63, 64, 65, 100, 150])
@pytest.mark.parametrize("windows", [1, 3])
def test_it_is_attention(windows: int, positions: int) -> None:
    those = inputs(windows, positions)
    assert error(IntegerAttention(HEADS, SCALE)(*those), exact(*those)) < 0.015


@pytest.mark.parametrize("spread", [0.01, 1, 4])
def test_it_is_about_as_near_as_with_scores_of_bfloat16(spread: float) -> None:
    those = inputs(2, 300, spread)
    wanted = exact(*those)
    theirs = error(HeadwiseAttention(HEADS, SCALE)(*those), wanted)
    assert error(IntegerAttention(HEADS, SCALE)(*those), wanted) < max(0.015, 2 * theirs)


def test_scores_that_differ_by_a_thousand_leave_one_position() -> None:
    query, key, value = inputs(1, 70)
    key.zero_()
    key[:, 20] = 100
    query.fill_(2)
    mixed = IntegerAttention(HEADS, SCALE)(query, key, value)
    assert error(mixed, value[:, 20:21].float().expand_as(value)) < 0.01


def test_scores_below_zero_are_weighed_as_well() -> None:
    query, key, value = inputs(1, 40)
    query.fill_(1)
    key.fill_(-3)
    mixed = IntegerAttention(HEADS, SCALE)(query, key, value)
    assert error(mixed, value.float().mean(1, keepdim=True).expand_as(value)) < 0.01


def test_one_window_may_come_without_its_dimension() -> None:
    those = inputs(1, 33)
    attention = IntegerAttention(HEADS, SCALE)
    mixed = attention(*(each[0] for each in those), cu_seqlens=None)
    assert torch.equal(mixed, attention(*those)[0])


def test_its_inputs_stay_as_they_are() -> None:
    those = inputs(2, 33)
    before = [each.clone() for each in those]
    IntegerAttention(HEADS, SCALE)(*those)
    assert all(map(torch.equal, those, before))


def test_only_heads_of_whisper_s_width_can_be_attended_to() -> None:
    assert can_attend(64)
    assert not can_attend(32)
