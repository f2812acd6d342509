"""The vocabulary's weights in their own order give the same embeddings and exacter logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from whisper_service.engine.kernels.vectors import has_bfloat16
from whisper_service.engine.packed_vocabulary import PackedVocabulary, use_packed_vocabulary

needs_kernel = [
    pytest.mark.slow,  # kernels are compiled
    pytest.mark.skipif(not has_bfloat16(), reason="a processor without AVX512-BF16"),
]


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
class TestLogits:
    pytestmark = needs_kernel

    def test_they_are_the_products(self, tokens: int, rows: int) -> None:
        weight, states = weights(tokens), weights(rows + 1000)[:rows]
        logits = PackedVocabulary(weight).logits(states)
        assert logits.dtype == torch.float32
        exact = states.double() @ weight.double().T
        assert torch.allclose(logits.double(), exact, atol=1e-4, rtol=1e-5)


class TestRows:
    pytestmark = needs_kernel

    def test_they_may_lie_apart(self) -> None:
        packed, states = PackedVocabulary(weights(70)), weights(10)
        assert torch.equal(packed.logits(states[::2]), packed.logits(states[::2].contiguous()))

    def test_a_model_that_uses_it_keeps_no_other_weights(self) -> None:
        weight = weights(100)
        whisper = model(weight)
        logits = whisper.proj_out.cpu_linear(weight[:3], whisper.proj_out.weight, None).float()
        amx = torch.cpu._is_amx_tile_supported()
        assert use_packed_vocabulary(whisper) is not amx
        if amx:
            return
        assert whisper.proj_out.weight.numel() == 0
        found = whisper.proj_out.cpu_linear(weight[:3], whisper.proj_out.weight, None)
        assert torch.allclose(found, logits, rtol=0.01)
        tokens = torch.tensor([5, 99])
        assert torch.equal(whisper.model.decoder.embed_tokens(tokens), weight[tokens])


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
