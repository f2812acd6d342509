"""The softmax is PyTorch's, whatever the scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whisper_service.engine import softmax_kernel
from whisper_service.engine.softmax_kernel import shared_softmax, softmax_

ROUNDING = 2**-8  # of a bfloat16
NEVER_SEEN = 2**-120


def distance(scores: Tensor) -> float:
    """How far off it is, as a share of each exact number."""
    exact = scores.double().softmax(dim=-1)
    softmax_(scores)
    there = exact > NEVER_SEEN
    assert (scores[~there].double() <= 2 * NEVER_SEEN).all()
    return float(((scores.double() - exact).abs() / exact)[there].max())


@pytest.mark.parametrize("spread", [0.01, 1, 10, 100, 1e30])
@pytest.mark.parametrize("shape", [(3, 1500), (2, 5, 7), (1, 1), (4, 33)])
def test_it_is_as_near_as_its_rounding(shape: tuple[int, ...], spread: float) -> None:
    torch.manual_seed(0)
    assert distance((torch.randn(shape) * spread).bfloat16()) < 1.05 * ROUNDING


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-300, 300, width=16), min_size=1, max_size=70))
def test_it_is_as_near_for_any_numbers(numbers: list[float]) -> None:
    assert distance(torch.tensor([numbers, numbers]).bfloat16()) < 1.05 * ROUNDING


def test_equal_scores_get_equal_shares() -> None:
    scores = torch.full((2, 4), -7.0, dtype=torch.bfloat16)
    softmax_(scores)
    assert (scores == 0.25).all()


def test_nothing_beside_its_scores_is_touched() -> None:
    scores = torch.zeros(3, 2, 16, dtype=torch.bfloat16)
    softmax_(scores[1])
    assert (scores[[0, 2]] == 0).all()


def test_there_is_none_without_the_threads_that_pytorch_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(softmax_kernel, "_OPENMP", "a library that nobody has loaded")
    assert shared_softmax() is None
