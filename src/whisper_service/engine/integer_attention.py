"""The encoder's attention on a processor, with scores from queries and keys of eight bits.

Each query and key is rounded to integers with a scale of its own, as in SageAttention (Zhang et
al., 2024), and AVX512-VNNI multiplies these twice as fast as AVX512-BF16 its numbers. From there to
the weights the scores are float32 instead of bfloat16, so that the encoder's output is as near to
float32's as with products of bfloat16 (1.8% off, both). The weights times the values stay such a
product: weights of eight bits would put it 4.5% off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whisper_service.engine.cache_writes import bits_of
from whisper_service.engine.kernels.eight_bits import OFFSET, WIDTH
from whisper_service.engine.kernels.encoder_weights import TILE, convert_keys, weigh
from whisper_service.engine.kernels.number_bits import LOG2_E
from whisper_service.engine.kernels.vectors import has_vnni


def can_attend(width: int) -> bool:
    """Whether there are the instructions for heads so wide."""
    return width == WIDTH and has_vnni()


class IntegerAttention(nn.Module):
    """Softmax attention of every position to every position.

    Args:
        heads: of the attention, 64 wide.
        scale: of the scores.
    """

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self._heads = heads
        self._factor = np.float32(scale) * LOG2_E

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        """bfloat16[windows, positions, width], or one window's without the first; so is the result.

        Further arguments are those of vLLM's varlen backends, and mean nothing here.
        """
        shape = query.shape
        if query.dim() == 2:
            query, key, value = query[None], key[None], value[None]
        positions = query.shape[1]
        padded = -(-positions // TILE) * TILE
        keys = np.full((self._heads, padded * WIDTH), -OFFSET, np.int8)
        scales = np.zeros((self._heads, padded), np.float32)
        weights = torch.empty(positions, positions, dtype=query.dtype)
        totals = torch.empty(positions, 1)
        mixed = torch.empty(query.shape, dtype=query.dtype)
        for those, these, values, target in zip(query, key, value, mixed, strict=True):
            # What all keys have in common adds the same to all of a query's scores, and often is
            # most of them: without it the rest is known better.
            differing = these - these.mean(dim=0)
            convert_keys(bits_of(differing), differing.stride(0), keys.reshape(-1), scales)
            # Rows that lie together: a product of slices of rows takes a tenth more.
            by_head = values.view(positions, self._heads, WIDTH).transpose(0, 1).contiguous()
            queries = bits_of(those)
            for head in range(self._heads):
                weigh(
                    queries[head * WIDTH :],
                    those.stride(0),
                    keys[head],
                    scales[head],
                    self._factor,
                    weights.view(torch.int16).numpy(),
                    totals.numpy(),
                )
                columns = slice(head * WIDTH, head * WIDTH + WIDTH)
                torch.div(weights @ by_head[head], totals, out=target[:, columns])
        return mixed.view(shape)
