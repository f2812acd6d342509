from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.unit.engine.tiny_decoder import (
    HEADS,
    POSITIONS,
    VOCABULARY,
    WIDTH,
    as_vllms,
    tiny_whisper,
)
from whisper_service.engine.worker.alignment_pass import AlignmentPass, TextInWindow, median_filter

SOME_HEADS = {1: [0, 3], 2: [2]}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_whisper()


def window(seed: int, tokens: int, frames: int, skip: int = 3) -> TextInWindow:
    generator = torch.Generator().manual_seed(seed)
    encoded = torch.randn(POSITIONS, WIDTH, generator=generator)
    ids = torch.randint(0, VOCABULARY, (tokens,), generator=generator).tolist()
    return TextInWindow(encoded, ids, skip, frames)


def run(model: Any, *windows: TextInWindow, heads: Any = None, **options: Any) -> list[Tensor]:
    work = AlignmentPass(as_vllms(model), heads or SOME_HEADS, windows, **options)
    with torch.inference_mode():
        for _ in work.parts():
            pass
    return work.weights


def by_the_reference(model: Any, one: TextInWindow, heads: dict[int, list[int]]) -> Tensor:
    """openai/whisper's formula over the attention that Transformers gives.

    Its softmax is over the frames with audio only; that is the same as to scale what falls on them.
    """
    with torch.inference_mode():
        attention = model.model.decoder(
            input_ids=torch.tensor([one.tokens]),
            encoder_hidden_states=one.encoded[None],
            output_attentions=True,
        ).cross_attentions
    rows = [attention[layer][0, head] for layer, some in heads.items() for head in some]
    weights = torch.stack(rows)[:, :, : one.frames]
    weights = weights / weights.sum(dim=-1, keepdim=True)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = (weights - mean) / std
    if one.frames > 3:
        padded = functional.pad(weights, (3, 3), mode="reflect")
        weights = padded.unfold(-1, 7, 1).sort()[0][..., 3]
    return weights.sum(dim=0)


@pytest.mark.parametrize(
    ("tokens", "frames"), [(5, 40), (20, 33), (229, 40), (7, 4), (6, 2), (4, 1)]
)
def test_it_sees_what_the_reference_sees(model: Any, tokens: int, frames: int) -> None:
    one = window(tokens, tokens, frames)
    (weights,) = run(model, one)
    assert weights.shape == (tokens, frames)
    if frames > 1:
        expected = by_the_reference(model, one, SOME_HEADS)
        assert torch.allclose(weights, expected, atol=1e-3, rtol=1e-3)
    assert weights.isfinite().all()


def test_windows_of_a_batch_do_not_see_one_another(model: Any) -> None:
    windows = [window(1, 9, 40), window(2, 30, 25), window(3, 4, 7)]
    together = run(model, *windows)
    for one, weights in zip(windows, together, strict=True):
        assert torch.allclose(weights, run(model, one)[0], atol=1e-4)


def test_ranks_that_have_half_of_the_heads_each_have_all_of_them_together(model: Any) -> None:
    """Each rank of a tensor-parallel model sees its own heads; their sum is what counts."""
    one = window(4, 12, 30)
    heads = {0: [0, 2, 3]}
    sums = []
    for rank in range(2):
        decoder = as_vllms(model)
        _keep_half_of_the_heads(decoder.layers[0].encoder_attn, rank)
        work = AlignmentPass(decoder, heads, [one], first_head=rank * HEADS // 2)
        with torch.inference_mode():
            for _ in work.parts():
                pass
        sums.append(work.weights[0])
    assert not torch.allclose(sums[0], sums[1], atol=1e-2)
    assert torch.allclose(sums[0] + sums[1], run(model, one, heads=heads)[0], atol=1e-3)


def _keep_half_of_the_heads(attention: Any, rank: int) -> None:
    queries, keys_values = attention.q_proj, attention.kv_proj
    mine = slice(rank * WIDTH // 2, (rank + 1) * WIDTH // 2)

    def half(layer: Any, states: Tensor) -> tuple[Tensor, None]:
        parts = layer(states)[0].split(WIDTH, dim=-1)
        return torch.cat([part[:, mine] for part in parts], dim=-1), None

    attention.q_proj = lambda states: half(queries, states)
    attention.kv_proj = lambda states: half(keys_values, states)
    attention.q_size = attention.kv_size = WIDTH // 2


def test_layers_after_the_last_alignment_head_are_not_run(model: Any) -> None:
    decoder = as_vllms(model)
    decoder.layers[1] = decoder.layers[2] = None
    work = AlignmentPass(decoder, {0: [1]}, [window(5, 6, 20)])
    with torch.inference_mode():
        assert sum(1 for _ in work.parts()) == 2
    assert work.weights[0].abs().sum() > 0


def test_a_head_that_looks_nowhere_in_particular_does_no_harm() -> None:
    model = tiny_whisper()
    for layer in model.model.decoder.layers:
        layer.encoder_attn.q_proj.weight.data.zero_()
        layer.encoder_attn.q_proj.bias.data.zero_()
    (weights,) = run(model, window(6, 8, 30))
    assert weights.isfinite().all()


@pytest.mark.parametrize("frames", [1, 3, 4, 7, 8, 100])
def test_the_median_filter_is_the_one_by_sorting(frames: int) -> None:
    values = torch.randn(3, 5, frames, generator=torch.Generator().manual_seed(frames))
    if frames <= 3:
        assert torch.equal(median_filter(values), values)
        return
    padded = functional.pad(values, (3, 3), mode="reflect")
    assert torch.equal(median_filter(values), padded.unfold(-1, 7, 1).sort()[0][..., 3])
