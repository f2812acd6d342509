"""Keeps the encoder's latest outputs, so that a retry of a window does not encode it again.

vLLM gives encoder-decoder models no encoder cache. Outputs are keyed by a digest of the features.
Those of windows whose words will be aligned have a name as well, and stay until they are let go of
or too many others are waiting.
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
        self._weights: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, features: Tensor) -> list[Digest]:
        """One digest for each of `features`, float[windows, mel, frames]."""
        bits = features.contiguous().view(_INTEGERS[features.element_size()]).flatten(1).long()
        place = bits.shape[1], bits.device
        if place not in self._weights:
            self._weights[place] = self._draw(bits.shape[1]).to(bits.device)
        weights = self._weights[place]
        sums = torch.stack([(bits * lane).sum(dim=-1) for lane in weights], dim=-1)
        return [tuple(row) for row in sums.tolist()]

    def _draw(self, length: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed)
        top = torch.iinfo(torch.int64).max
        return torch.randint(-top, top, (_LANES, length), generator=generator) | 1


_INTEGERS = {2: torch.int16, 4: torch.int32}


class EncoderCache:
    """Wraps a model's `embed_multimodal`; holds the outputs of at most `capacity` windows.

    Args:
        encode: the model's own.
        capacity: windows that may come again.
        names: windows that may have a name; most of them are among the others, and shared.
    """

    def __init__(
        self, encode: Callable[..., Sequence[Tensor]], capacity: int, names: int = 0
    ) -> None:
        self._encode = encode
        self._capacity = capacity
        self._names = names
        self._digest = FeatureDigest()
        self._outputs: OrderedDict[Digest, Tensor] = OrderedDict()
        self._expected: dict[Digest, list[str]] = {}
        self._named: OrderedDict[str, Tensor] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def expect(self, name: str, features: Tensor) -> None:
        """What comes of these features, float[mel, frames], in the next batch gets the name."""
        (digest,) = self._digest(features.unsqueeze(0))
        self._expected.setdefault(digest, []).append(name)

    def named(self, name: str) -> Tensor | None:
        """float[positions, width]; None where it has made room for others, or never came."""
        return self._named.get(name)

    def let_go(self, name: str) -> None:
        self._named.pop(name, None)

    @property
    def windows(self) -> int:
        """Whose outputs are held, for whatever reason."""
        return len({id(output) for output in (*self._outputs.values(), *self._named.values())})

    def embed_multimodal(self, **inputs: Any) -> list[Tensor]:
        """The encoder's output for each window of `input_features`, float[positions, width]."""
        features = inputs.get("input_features")
        unused = self._capacity == 0 and not self._expected
        if not isinstance(features, Tensor) or unused:
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
            self._name(digest, known[digest])
        self._expected.clear()  # what has not come by now was never scheduled
        return [known[digest] for digest in digests]

    def _name(self, digest: Digest, output: Tensor) -> None:
        for name in self._expected.pop(digest, ()):
            shared = self._outputs.get(digest)
            self._named[name] = output.clone() if shared is None else shared
            self._named.move_to_end(name)
        while len(self._named) > self._names:
            self._named.popitem(last=False)

    def _remember(self, digest: Digest, output: Tensor) -> None:
        if self._capacity == 0:
            return
        if digest not in self._outputs:
            self._outputs[digest] = output.clone()
        self._outputs.move_to_end(digest)
        while len(self._outputs) > self._capacity:
            self._outputs.popitem(last=False)
