"""vLLM's Whisper decoder on a processor: the same operators, and a shorter way to each of them.

A step is some 150 operators. With one window they take 3 ms, and the modules, wrappers and
dispatchers around them 2 ms more. What is computed is the same, bit for bit, but for the order of
sums where weights are kept in another order (`packed_layers`). A GPU needs none of this: there a
step is a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_Rows = Callable[[Tensor], Tensor]


def use_short_decoder(
    decoder: Any, vllm_config: Any, context: Callable[[], Any], *, pack: bool
) -> bool:
    """Replaces the decoder's `forward` where nothing would be left out by that.

    Args:
        decoder: vLLM's WhisperDecoder.
        vllm_config: its configuration.
        context: vLLM's `get_forward_context`.
        pack: whether weights may be kept in another order as well (`packed_layers`).

    Returns:
        Whether it has.
    """
    plain = (
        vllm_config.parallel_config.world_size == 1
        and vllm_config.quant_config is None
        and vllm_config.lora_config is None
        and vllm_config.kv_transfer_config is None
        and getattr(decoder, "do_not_compile", False)
    )
    if not plain or not all(hasattr(each, "cpu_linear") for each in _linear_layers(decoder)):
        return False
    decoder.forward = ShortDecoder(decoder, context, _packed if pack else _linear)
    return True


def _linear_layers(decoder: Any) -> list[Any]:
    return [
        linear
        for layer in decoder.layers
        for linear in (
            layer.self_attn.qkv_proj,
            layer.self_attn.out_proj,
            layer.encoder_attn.q_proj,
            layer.encoder_attn.kv_proj,
            layer.encoder_attn.out_proj,
            layer.mlp.fc1,
            layer.mlp.fc2,
        )
    ]


class ShortDecoder:
    """In place of the `forward` of vLLM's WhisperDecoder.

    Args:
        decoder: as `use_short_decoder` has it.
        context: the same.
        linear: what a linear layer becomes that has a row for each token.
    """

    def __init__(
        self, decoder: Any, context: Callable[[], Any], linear: Callable[[Any], _Rows]
    ) -> None:
        self._whole = decoder.forward  # while vLLM warms up there are no requests to attend to
        self._context = context
        self._token, self._position = decoder.embed_tokens, decoder.embed_positions
        self._layers = [_Layer(layer, linear) for layer in decoder.layers]
        self._norm = _norm(decoder.layer_norm)
        first = decoder.layers[0]
        self._names = first.self_attn.attn.layer_name, first.encoder_attn.attn.layer_name

    def __call__(
        self, input_ids: Tensor, positions: Tensor, encoder_hidden_states: Tensor | None
    ) -> Tensor:
        """Args are vLLM's: int64[tokens] twice, and of new windows float[positions, width]."""
        context = self._context()
        metadata = context.attn_metadata
        if not isinstance(metadata, dict):
            whole: Tensor = self._whole(input_ids, positions, encoder_hidden_states)
            return whole
        # All layers share what the first one's attention is told.
        own, cross = (metadata[name] for name in self._names)
        slots = context.slot_mapping[self._names[0]]
        states = self._token(input_ids) + self._position(positions)
        for layer in self._layers:
            states = layer(states, own, slots, cross, encoder_hidden_states)
        return self._norm(states)


class _Layer:
    def __init__(self, layer: Any, linear: Callable[[Any], _Rows]) -> None:
        own, cross = layer.self_attn, layer.encoder_attn
        self._own, self._cross = own.attn, cross.attn
        self._heads, self._width = own.attn.num_heads, own.attn.head_size
        self._own_norm, self._cross_norm, self._norm = map(
            _norm,
            (layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm),
        )
        self._query_key_value, self._own_out = linear(own.qkv_proj), linear(own.out_proj)
        self._query, self._cross_out = linear(cross.q_proj), linear(cross.out_proj)
        self._key_value = _linear(cross.kv_proj)  # of all positions of the audio
        self._wide, self._narrow = linear(layer.mlp.fc1), linear(layer.mlp.fc2)
        self._activation = layer.mlp.activation_fn

    def __call__(
        self, states: Tensor, own: Any, slots: Tensor, cross: Any, encoded: Tensor | None
    ) -> Tensor:
        attention = self._own
        query, key, value = self._split(self._query_key_value(self._own_norm(states)), 3)
        attention.impl.do_kv_cache_update(attention, key, value, attention.kv_cache, slots)
        mixed = torch.empty(query.shape, dtype=query.dtype)
        attention.impl.forward(attention, query, key, value, attention.kv_cache, own, mixed)
        states = states + self._own_out(mixed.flatten(1))

        attention = self._cross
        (query,) = self._split(self._query(self._cross_norm(states)), 1)
        new = (None, None) if encoded is None else self._split(self._key_value(encoded), 2)
        attention.impl.forward(attention, query, *new, attention.kv_cache, cross, mixed)
        states = states + self._cross_out(mixed.flatten(1))

        return states + self._narrow(self._activation(self._wide(self._norm(states))))

    def _split(self, joined: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Views [rows, heads, width of a head]."""
        return joined.view(len(joined), parts, self._heads, self._width).unbind(1)


def _linear(layer: Any) -> _Rows:
    run, weight, bias = layer.cpu_linear, layer.weight, layer.bias

    def linear(rows: Tensor) -> Tensor:
        product: Tensor = run(rows, weight, bias)
        return product

    return linear


def _packed(layer: Any) -> _Rows:
    # Numba, not earlier (`worker_extension`).
    from whisper_service.engine.packed_layers import PackedLinear, fills_blocks

    return PackedLinear(layer) if fills_blocks(layer) else _linear(layer)


def _norm(layer: nn.LayerNorm) -> _Rows:
    shape, weight, bias, eps = layer.normalized_shape, layer.weight, layer.bias, layer.eps

    def norm(rows: Tensor) -> Tensor:
        return torch.layer_norm(rows, shape, weight, bias, eps)

    return norm
