"""How near a measured speed is to what the machine can do at all."""

from __future__ import annotations

import time
from dataclasses import dataclass

WINDOW_SECONDS = 30.0


@dataclass(frozen=True)
class Work:
    """What one window takes of a model.

    encoder_flop: of the encoder and the cross-attention's keys and values.
    weights: bytes of the decoder, read in every step for all windows together.
    cache: bytes of keys and values, read in every step for each window.
    """

    encoder_flop: float
    weights: float
    cache: float


@dataclass(frozen=True)
class Card:
    """bf16: FLOP/s, dense; memory: bytes a second."""

    bf16: float
    memory: float


# Vendors' data sheets; found by a part of the name that torch gives the device.
CARDS = {
    "H200": Card(989e12, 4.8e12),
    "H100 PCIe": Card(756e12, 2.0e12),
    "H100 NVL": Card(835e12, 3.9e12),
    "H100": Card(989e12, 3.35e12),
    "L40S": Card(362e12, 864e9),
    "L4": Card(121e12, 300e9),
    "RTX 4090": Card(165e12, 1.01e12),
    "B200": Card(2250e12, 8.0e12),
}


def card_named(name: str) -> Card | None:
    return next((card for part, card in CARDS.items() if part in name), None)


def whisper_work(width: int, layers: int, vocabulary: int, mel_bins: int, cache_bytes: int) -> Work:
    """Of a Whisper with as many encoder as decoder layers; two bytes a weight.

    Args:
        width: d_model.
        layers: of the encoder, and of the decoder.
        vocabulary: tokens.
        mel_bins: of the features.
        cache_bytes: of a number in the key-value cache.
    """
    positions = 1_500
    products = 12 * width**2 * positions  # q, k, v, out and the two of the feed-forward, 4 wide
    attention = 2 * positions**2 * width
    stem = positions * (2 * 3 * mel_bins * width + 3 * width**2)
    cross = 2 * width**2 * positions
    encoder = 2 * (layers * (products + attention + cross) + stem)
    weights = 2 * (layers * 14 * width**2 + vocabulary * width)
    return Work(encoder, weights, 2 * layers * width * positions * cache_bytes)


def roofline(work: Work, card: Card, windows: int, tokens: float) -> float:
    """The greatest real-time factor with so many windows in flight, each of so many tokens."""
    decoding = tokens * (work.weights / windows + work.cache) / card.memory
    return WINDOW_SECONDS / (work.encoder_flop / card.bf16 + decoding)


def processor_bf16(seconds: float = 3.0) -> float:
    """FLOP/s of this machine's bfloat16 matrix products through torch: the best that was seen."""
    import torch

    size, best = 3_072, 0.0
    one = torch.randn(size, size).bfloat16()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        torch.mm(one, one)
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
