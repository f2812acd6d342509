"""The encoder's attention on a processor, as matrix products and a softmax of one head at a time.

PyTorch's fused attention takes a block of positions at a time through a product that is a third as
fast as a whole one. The encoder has no mask and always 1,500 positions: one head's scores are
4.5 MB, which stay in the cache between the three steps. On two cores with AVX512-BF16 that takes
0.6 of the time; the scores are rounded to bfloat16, which the encoder's error against float32 (1.7%
of its output) does not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from whisper_service.engine.cpu.comparison import DiffersError, is_close, random_states

_POSITIONS = 64  # that it is compared with vLLM's for
_ERROR = 0.03  # of both together: scores and weights are bfloat16


class HeadwiseAttention(nn.Module):
    """Softmax attention of every position to every position.

    Args:
        heads: of the attention; the width is a multiple of it.
        scale: of the scores.
        together: heads that are computed at once: more where there are more threads.
    """

    def __init__(self, heads: int, scale: float, together: int = 1) -> None:
        super().__init__()
        self._number = heads
        self._scale = scale
        self._together = min(together, heads)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        """float[windows, positions, width], or of one window without the first; so is the result.

        Further arguments are those of vLLM's varlen backends, and mean nothing here.
        """
        shape = query.shape
        if query.dim() == 2:
            query, key, value = query[None], key[None], value[None]
        q, k, v = (self._split(each) for each in (query * self._scale, key, value))
        mixed = torch.empty(shape, dtype=query.dtype, device=query.device)
        target = self._split(mixed.view(query.shape))
        windows, heads, positions = q.shape[:3]
        scores = torch.empty(self._together, positions, positions, dtype=q.dtype, device=q.device)
        for window in range(windows):
            # Rows that lie together: a product of heads that are slices of rows takes a tenth more.
            queries, keys, values = (each[window].contiguous() for each in (q, k, v))
            for first in range(0, heads, self._together):
                those = slice(first, first + self._together)
                part = scores[: len(queries[those])]
                torch.bmm(queries[those], keys[those].transpose(1, 2), out=part)
                torch.softmax(part, dim=-1, out=part)
                target[window, those] = torch.bmm(part, values[those])
        return mixed

    def _split(self, joined: Tensor) -> Tensor:
        """The heads apart: a view float[windows, heads, positions, width of a head]."""
        windows, positions, width = joined.shape
        heads = self._number
        return joined.view(windows, positions, heads, width // heads).transpose(1, 2)


def use_headwise_attention(layers: Sequence[Any]) -> bool:
    """Replaces vLLM's attention in an encoder's layers where there is a faster one.

    That is on a processor with bfloat16 products, but without AMX's: those make the fused
    attention fast as well.

    Args:
        layers: of vLLM's WhisperEncoder.

    Returns:
        Whether it has.

    Raises:
        DiffersError: it computes something else than vLLM's.
    """
    weight = next(layers[0].parameters())
    fast = torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16 or not fast:
        return False
    together = max(1, torch.get_num_threads() // 2)
    _compare(layers[0].self_attn, together, weight.dtype)
    for layer in layers:
        attention = layer.self_attn
        heads, scale = attention.num_heads, attention.scaling
        attention.attn = HeadwiseAttention(heads, scale, together)
    return True


def _compare(attention: Any, together: int, dtype: torch.dtype) -> None:
    heads, width = attention.num_heads, attention.head_dim
    states = random_states(1, _POSITIONS, 3 * heads * width, dtype=dtype).chunk(3, dim=-1)
    ours = HeadwiseAttention(heads, attention.scaling, together)(*states)
    if not is_close(ours, attention.attn(*states), _ERROR):
        raise DiffersError("its outputs differ")
