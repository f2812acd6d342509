"""Where the decoder looks while it writes: one pass over a text that is known already.

The reference's `find_alignment` (openai/whisper, timing.py) on the modules of vLLM's model, for
several windows at once. Attention is computed here with torch: the engine's own kernels keep keys
in a paged cache, and give no scores. The pass is cut into small parts, so that the engine can go on
decoding between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_FILTER_WIDTH = 7  # frames; timing.py, medfilt_width
_FEWEST = 1e-10  # of a standard deviation, where a head never looks at all
# Compare and exchange these pairs, and the fourth of seven values is their median (N. Devillard,
# "Fast median search", 1998). Thirteen pairs of elementwise operations: many times faster than
# sorting, on any device.
_MEDIAN_OF_SEVEN = (
    (0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6),
    (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TextInWindow:
    """What is aligned.

    encoded: float[positions, width], the encoder's output.
    tokens: what the decoder is given: prefix, text and end of text.
    skip: tokens of the prefix before <|notimestamps|>, whose place in the audio is not asked for.
    frames: positions of the encoder that hold audio.
    """

    encoded: Tensor
    tokens: Sequence[int]
    skip: int
    frames: int


class AlignmentPass:
    """The pass over a batch of windows.

    Args:
        decoder: vLLM's WhisperDecoder, or this rank's shard of it.
        heads: alignment heads of each layer that has some.
        windows: what to align.
        first_head: number of this rank's first head in each layer.
    """

    def __init__(
        self,
        decoder: Any,
        heads: Mapping[int, Sequence[int]],
        windows: Sequence[TextInWindow],
        first_head: int = 0,
    ) -> None:
        self._decoder = decoder
        self._heads = heads
        self._windows = windows
        self._first_head = first_head
        self._lengths = [len(window.tokens) for window in windows]
        self.weights: list[Tensor] = [
            torch.zeros(len(window.tokens), window.frames, device=window.encoded.device)
            for window in windows
        ]

    def parts(self) -> Iterator[None]:
        """Does the work; between two parts others may have the processor.

        Afterwards `weights` has, for each window, float32[tokens, frames]: the sum over this rank's
        alignment heads of their normalised and filtered attention.
        """
        hidden = self._embed()
        last = max(self._heads, default=-1)
        for index in range(last + 1):
            layer = self._decoder.layers[index]
            hidden = hidden + self._self_attention(layer, hidden)
            yield
            queries, _ = layer.encoder_attn.q_proj(layer.encoder_attn_layer_norm(hidden))
            attended = []
            for number, query in enumerate(queries.split(self._lengths)):
                attended.append(self._cross_attention(layer, index, number, query, last))
                yield
            if index == last:
                return  # what comes after its scores is of no use
            hidden = hidden + layer.encoder_attn.out_proj(torch.cat(attended))[0]
            hidden = hidden + layer.mlp(layer.final_layer_norm(hidden))
            yield

    def _embed(self) -> Tensor:
        device = self._windows[0].encoded.device
        tokens = [token for window in self._windows for token in window.tokens]
        positions = [position for length in self._lengths for position in range(length)]
        decoder = self._decoder
        embedded: Tensor = decoder.embed_tokens(torch.tensor(tokens, device=device))
        placed: Tensor = decoder.embed_positions(torch.tensor(positions, device=device))
        return embedded + placed

    def _self_attention(self, layer: Any, hidden: Tensor) -> Tensor:
        attention = layer.self_attn
        mixed, _ = attention.qkv_proj(layer.self_attn_layer_norm(hidden))
        parts = mixed.split([attention.q_size, attention.kv_size, attention.kv_size], dim=-1)
        attended = []
        for query, key, value in zip(*(part.split(self._lengths) for part in parts), strict=True):
            q, k, v = (_by_head(each, attention.head_dim) for each in (query, key, value))
            attended.append(_flat(functional.scaled_dot_product_attention(q, k, v, is_causal=True)))
        output: Tensor = attention.out_proj(torch.cat(attended))[0]
        return output

    def _cross_attention(
        self, layer: Any, index: int, number: int, query: Tensor, last: int
    ) -> Tensor:
        attention, window = layer.encoder_attn, self._windows[number]
        keys_values, _ = attention.kv_proj(window.encoded)
        key, value = keys_values.split([attention.kv_size, attention.kv_size], dim=-1)
        query, key = _by_head(query, attention.head_dim), _by_head(key, attention.head_dim)
        mine = range(self._first_head, self._first_head + query.shape[1])
        heads = [head - self._first_head for head in self._heads.get(index, ()) if head in mine]
        if heads:
            scores = query[0, heads].float() @ key[0, heads, : window.frames].float().mT
            self.weights[number] += _looks(scores * attention.scaling)
        if index == last:
            return query
        value = _by_head(value, attention.head_dim)
        return _flat(_attend(query, key, value))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention without a mask. On a processor whole products are faster than PyTorch's fused one
    (`encoder_attention`).
    """
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value)
    # Copied: a product with heads that are slices of rows takes three times as long.
    scores = query[0] * query.shape[-1] ** -0.5 @ key[0].contiguous().mT
    attended: Tensor = scores.softmax(dim=-1) @ value[0].contiguous()
    return attended.unsqueeze(0)


def _looks(scores: Tensor) -> Tensor:
    """float32[tokens, frames] from float32[heads, tokens, frames]: summed over the heads."""
    weights = scores.softmax(dim=-1)
    weights = weights - weights.mean(dim=-2, keepdim=True)
    # A square and its mean: on a processor a fifth of the time of PyTorch's standard deviation.
    deviation = weights.square().mean(dim=-2, keepdim=True).sqrt()
    weights = weights / deviation.clamp_min(_FEWEST)
    return median_filter(weights).sum(dim=0)


def median_filter(values: Tensor) -> Tensor:
    """The median of seven neighbours along the last dimension, mirrored at its ends."""
    reach = _FILTER_WIDTH // 2
    frames = values.shape[-1]
    if frames <= reach:
        return values
    padded = functional.pad(values, (reach, reach), mode="reflect")
    sorted_ = [padded[..., offset : offset + frames] for offset in range(_FILTER_WIDTH)]
    for low, high in _MEDIAN_OF_SEVEN:
        sorted_[low], sorted_[high] = (
            torch.minimum(sorted_[low], sorted_[high]),
            torch.maximum(sorted_[low], sorted_[high]),
        )
    return sorted_[reach]


def _by_head(states: Tensor, head_dim: int) -> Tensor:
    """float[1, heads, tokens, head_dim] from float[tokens, width]."""
    return states.reshape(len(states), -1, head_dim).transpose(0, 1).unsqueeze(0)


def _flat(attended: Tensor) -> Tensor:
    """The reverse of `_by_head`."""
    return attended.squeeze(0).transpose(0, 1).flatten(1)
