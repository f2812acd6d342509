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

from whisper_service.engine.cpu.comparison import (
    DiffersError,
    clear,
    is_close,
    metadata,
    random_states,
    step,
)

_Rows = Callable[[Tensor], Tensor]
Compare = Callable[[Any, "ShortDecoder", Any], None]

_TOKENS, _POSITIONS = 4, 70  # that it is compared with vLLM's for
_ERROR = 0.05  # where numbers are rounded after each operator
_ERRORS = {torch.float32: 1e-4}


def use_short_decoder(
    decoder: Any,
    vllm_config: Any,
    *,
    pack: bool,
    context: Callable[[], Any] | None = None,
    compare: Compare | None = None,
) -> bool:
    """Replaces the decoder's `forward` where nothing would be left out by that.

    Args:
        decoder: vLLM's WhisperDecoder.
        vllm_config: its configuration.
        pack: whether weights may be kept in another order as well (`packed_layers`).
        context: vLLM's `get_forward_context`.
        compare: raises where the short one computes something else.

    Returns:
        Whether it has.

    Raises:
        DiffersError: it computes something else than vLLM's.
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
    short = ShortDecoder(decoder, context or _context(), _packed if pack else _linear)
    (compare or _compare)(decoder, short, vllm_config)
    decoder.forward = short
    return True


def _context() -> Callable[[], Any]:
    from vllm.forward_context import get_forward_context

    found: Callable[[], Any] = get_forward_context
    return found


def _compare(decoder: Any, short: ShortDecoder, vllm_config: Any) -> None:
    """One step with new audio, as vLLM's runner would do it."""
    own = [layer.self_attn.attn for layer in decoder.layers]
    cross = [layer.encoder_attn.attn for layer in decoder.layers]
    of_text = metadata(own[0], _TOKENS, _TOKENS, causal=True)
    of_audio = metadata(cross[0], _TOKENS, _POSITIONS, causal=False)
    layers = {each.layer_name: of_text for each in own}
    layers |= {each.layer_name: of_audio for each in cross}
    tokens, places = torch.arange(_TOKENS) * 7, torch.arange(_TOKENS)
    width = own[0].num_heads * own[0].head_size
    encoded = random_states(_POSITIONS, width, dtype=own[0].dtype)
    with step(vllm_config, layers):
        theirs = decoder.forward(tokens, places, encoded)
        ours = short(tokens, places, encoded)
    clear(own, _TOKENS)
    clear(cross, _POSITIONS)
    if not is_close(ours, theirs, _ERRORS.get(ours.dtype, _ERROR)):
        raise DiffersError("its outputs differ")


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
    # Numba, not earlier (`replacements`).
    from whisper_service.engine.cpu.packed_layers import PackedLinear, fills_blocks

    return PackedLinear(layer) if fills_blocks(layer) else _linear(layer)


def _norm(layer: nn.LayerNorm) -> _Rows:
    shape, weight, bias, eps = layer.normalized_shape, layer.weight, layer.bias, layer.eps

    def norm(rows: Tensor) -> Tensor:
        return torch.layer_norm(rows, shape, weight, bias, eps)

    return norm
