"""Keeps the encoder's latest outputs, so that a retry of a window does not encode it again.

vLLM gives encoder-decoder models no encoder cache. Outputs are keyed by a digest of the features.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_LANES = 2  # of 64 bits each

Digest = tuple[int, ...]


class FeatureDigest:
    """A 128-bit digest of each window's features, computed where they are.

    A random linear form over the features' bits, modulo 2**64, twice. The weights are drawn anew in
    every process, so nobody can construct two recordings with the same digest.
    """

    def __init__(self) -> None:
        self._seed = secrets.randbits(63)
        self._weights: Tensor | None = None

    def __call__(self, features: Tensor) -> list[Digest]:
        """One digest for each of `features`, float[windows, mel, frames]."""
        bits = features.contiguous().view(_INTEGERS[features.element_size()]).flatten(1).long()
        weights = self._weights
        if weights is None or weights.shape[1] != bits.shape[1] or weights.device != bits.device:
            weights = self._draw(bits.shape[1]).to(bits.device)
            self._weights = weights
        sums = torch.stack([(bits * lane).sum(dim=-1) for lane in weights], dim=-1)
        return [tuple(row) for row in sums.tolist()]

    def _draw(self, length: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed)
        top = torch.iinfo(torch.int64).max
        return torch.randint(-top, top, (_LANES, length), generator=generator) | 1


_INTEGERS = {2: torch.int16, 4: torch.int32}


class EncoderCache:
    """Wraps a model's `embed_multimodal`; holds the outputs of at most `capacity` windows."""

    def __init__(self, encode: Callable[..., Sequence[Tensor]], capacity: int) -> None:
        self._encode = encode
        self._capacity = capacity
        self._digest = FeatureDigest()
        self._outputs: OrderedDict[Digest, Tensor] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def embed_multimodal(self, **inputs: Any) -> list[Tensor]:
        """The encoder's output for each window of `input_features`, float[positions, width]."""
        features = inputs.get("input_features")
        if not isinstance(features, Tensor) or self._capacity == 0:
            return list(self._encode(**inputs))
        digests = self._digest(features)
        known = {digest: self._outputs[digest] for digest in digests if digest in self._outputs}
        fresh = [row for row, digest in enumerate(digests) if digest not in known]
        self.hits += len(digests) - len(fresh)
        self.misses += len(fresh)
        if fresh:
            part = features if len(fresh) == len(digests) else features[fresh]
            for row, output in zip(fresh, self._encode(input_features=part), strict=True):
                known[digests[row]] = output
        for digest in digests:
            # A slice would keep its whole batch alive.
            self._remember(digest, known[digest])
        return [known[digest] for digest in digests]

    def _remember(self, digest: Digest, output: Tensor) -> None:
        if digest not in self._outputs:
            self._outputs[digest] = output.clone()
        self._outputs.move_to_end(digest)
        while len(self._outputs) > self._capacity:
            self._outputs.popitem(last=False)
