"""The short decoder gives what Transformers' does: all tokens at once, and one after another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tests.unit.engine.tiny_decoder import HEADS, POSITIONS, WIDTH, as_vllms, tiny_whisper
from whisper_service.engine.cpu.comparison import DiffersError
from whisper_service.engine.cpu.decoder_steps import ShortDecoder, _linear, use_short_decoder

SIZE = WIDTH // HEADS
TOKENS = torch.tensor([3, 4, 5, 6, 10, 11, 12])


class Attention:
    """As vLLM's, for one request: keeps keys and values by slot, and attends to so many."""

    def __init__(self, name: str) -> None:
        self.layer_name, self.num_heads, self.head_size = name, HEADS, SIZE
        self.kv_cache = torch.zeros(2, 100, HEADS, SIZE)
        self.impl = self

    def do_kv_cache_update(
        self, attention: Any, key: Tensor, value: Tensor, kv_cache: Tensor, slots: Tensor
    ) -> None:
        assert attention is self
        kv_cache[0, slots], kv_cache[1, slots] = key, value

    def forward(
        self,
        attention: Any,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        kv_cache: Tensor,
        metadata: Any,
        output: Tensor,
    ) -> None:
        if metadata.is_cross and key is not None and value is not None:
            self.do_kv_cache_update(attention, key, value, kv_cache, torch.arange(len(key)))
        keys, values = (each[: metadata.length].transpose(0, 1) for each in kv_cache)
        mask = torch.ones(len(query), metadata.length, dtype=torch.bool)
        if not metadata.is_cross:
            mask = mask.tril(metadata.length - len(query))
        mixed = scaled_dot_product_attention(query.transpose(0, 1), keys, values, attn_mask=mask)
        output.copy_(mixed.transpose(0, 1))


class Decoder:
    """The tiny one with what the short one asks of vLLM's."""

    def __init__(self) -> None:
        whisper = tiny_whisper()
        self.whisper, those = whisper.model.decoder, as_vllms(whisper)
        self.embed_tokens, self.embed_positions = those.embed_tokens, those.embed_positions
        self.layer_norm, self.layers = self.whisper.layer_norm, those.layers
        self.do_not_compile = True
        for number, (layer, theirs) in enumerate(
            zip(self.layers, self.whisper.layers, strict=True)
        ):
            layer.self_attn.attn = Attention(f"{number}.own")
            layer.encoder_attn.attn = Attention(f"{number}.cross")
            layer.mlp = SimpleNamespace(
                fc1=theirs.fc1, fc2=theirs.fc2, activation_fn=theirs.activation_fn
            )
            for linear in linears(layer):
                linear.weight = linear.bias = None
                linear.cpu_linear = _cpu_linear(linear)

    def forward(self, *_: Any) -> str:
        return "vLLM's own"


def linears(layer: Any) -> list[Any]:
    own, cross, mlp = layer.self_attn, layer.encoder_attn, layer.mlp
    joined = [own.qkv_proj, own.out_proj, cross.q_proj, cross.kv_proj, cross.out_proj]
    wrapped = [SimpleNamespace(of=each) for each in (mlp.fc1, mlp.fc2)]
    mlp.fc1, mlp.fc2 = wrapped
    return joined + wrapped


def _cpu_linear(linear: Any) -> Any:
    def run(rows: Tensor, weight: None, bias: None) -> Tensor:
        assert weight is bias is None  # given on as they are
        if isinstance(linear, nn.Module):
            return linear(rows)[0]
        product: Tensor = linear.of(rows)
        return product

    return run


class Step:
    """vLLM's forward context."""

    def __init__(self, before: int, tokens: int) -> None:
        own = SimpleNamespace(is_cross=False, length=before + tokens)
        cross = SimpleNamespace(is_cross=True, length=POSITIONS)
        self.attn_metadata = {"0.own": own, "0.cross": cross}
        self.slot_mapping = {"0.own": torch.arange(before, before + tokens)}


@pytest.mark.parametrize("sizes", [[len(TOKENS)], [1] * len(TOKENS), [3, 1, 1, 2]])
@torch.inference_mode()
def test_it_is_the_decoder(sizes: list[int]) -> None:
    decoder, now = Decoder(), []
    short = ShortDecoder(decoder, lambda: now[-1], _linear)
    encoded = torch.randn(POSITIONS, WIDTH)
    found = []
    for size in sizes:
        before = sum(map(len, found))
        now.append(Step(before, size))
        places = torch.arange(before, before + size)
        found.append(short(TOKENS[places], places, None if before else encoded))
    exact = decoder.whisper(TOKENS[None], encoder_hidden_states=encoded[None]).last_hidden_state
    torch.testing.assert_close(torch.cat(found), exact[0])


def test_while_vllm_warms_up_its_own_runs() -> None:
    short = ShortDecoder(Decoder(), lambda: SimpleNamespace(attn_metadata=None), _linear)
    assert short(TOKENS, torch.arange(len(TOKENS)), None) == "vLLM's own"  # type: ignore[comparison-overlap]


def configured(**changes: Any) -> Any:
    config = {
        "parallel_config": SimpleNamespace(world_size=1),
        "quant_config": None,
        "lora_config": None,
        "kv_transfer_config": None,
    }
    return SimpleNamespace(**config | changes)


def try_it(decoder: Any, config: Any, *, differs: bool = False) -> bool:
    def compare(*_: Any) -> None:
        if differs:
            raise DiffersError("its outputs differ")

    return use_short_decoder(decoder, config, pack=False, context=lambda: None, compare=compare)


def test_it_is_used_where_it_leaves_nothing_out() -> None:
    decoder = Decoder()
    assert try_it(decoder, configured())
    assert isinstance(decoder.forward, ShortDecoder)


def test_it_is_not_used_where_it_computes_something_else() -> None:
    decoder = Decoder()
    with pytest.raises(DiffersError):
        try_it(decoder, configured(), differs=True)
    assert not isinstance(decoder.forward, ShortDecoder)


@pytest.mark.parametrize(
    "changes",
    [
        {"parallel_config": SimpleNamespace(world_size=2)},
        {"quant_config": object()},
        {"lora_config": object()},
        {"kv_transfer_config": object()},
    ],
)
def test_it_is_not_used_where_more_is_done_on_the_way(changes: dict[str, Any]) -> None:
    decoder = Decoder()
    assert not try_it(decoder, configured(**changes))
    assert not isinstance(decoder.forward, ShortDecoder)


def test_it_is_not_used_for_a_compiled_one_or_on_a_gpu() -> None:
    compiled = Decoder()
    compiled.do_not_compile = False
    assert not try_it(compiled, configured())
    on_gpu = Decoder()
    del on_gpu.layers[-1].mlp.fc2.cpu_linear
    assert not try_it(on_gpu, configured())
