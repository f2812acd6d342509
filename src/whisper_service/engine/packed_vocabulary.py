"""The decoder's vocabulary on a processor: one copy of its weights, and logits in float32.

Whisper's embeddings of tokens are its last layer's weights as well. vLLM keeps them twice, once in
the order that oneDNN multiplies by, and rounds logits to bfloat16: at 20, where a text's are, to
eighths, so that two tokens are as often as not equally likely. Here the weights are kept once, in
an order that a few rows are multiplied by at the speed of memory, and logits stay what they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whisper_service.engine.kernels.vectors import has_bfloat16
from whisper_service.engine.kernels.vocabulary import BLOCK, multiply


def use_packed_vocabulary(model: Any) -> bool:
    """Replaces the embeddings and the last layer where the processor has the instructions.

    With AMX vLLM's are fast as well.

    Args:
        model: vLLM's WhisperForConditionalGeneration.

    Returns:
        Whether it has.
    """
    decoder, head = model.model.decoder, model.proj_out
    weight: Tensor = decoder.embed_tokens.weight
    amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    is_tied = head.weight.data_ptr() == weight.data_ptr() and head.weight.shape == weight.shape
    plain = weight.dtype == torch.bfloat16 and hasattr(head, "cpu_linear") and is_tied
    if not plain or amx or not has_bfloat16() or type(decoder.embed_tokens) is not nn.Embedding:
        return False
    packed = PackedVocabulary(weight.detach())
    nothing = torch.empty(0, dtype=weight.dtype)
    head.cpu_linear = packed.logits
    head.weight = nn.Parameter(nothing, requires_grad=False)
    decoder.embed_tokens = packed
    return True


class PackedVocabulary(nn.Module):
    """Embeddings of tokens, and the logits of all of them.

    Args:
        weight: bfloat16[tokens, width], copied; the width is even.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._tokens, width = weight.shape
        filled = functional.pad(weight, (0, 0, 0, -self._tokens % BLOCK))
        # [blocks, pairs of a token's numbers, tokens of a block, two]
        self._weights = filled.view(-1, BLOCK, width // 2, 2).transpose(1, 2).contiguous()
        self._flat = self._weights.view(torch.int32).numpy().reshape(-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """bfloat16[any, width] for int64[any]."""
        return self._weights[tokens // BLOCK, :, tokens % BLOCK].flatten(-2)

    def logits(self, rows: Tensor, _weight: Any = None, _bias: Any = None) -> Tensor:
        """float32[rows, tokens] for bfloat16[rows, width]: in place of vLLM's `cpu_linear`."""
        products = torch.empty(len(rows), self._tokens)
        if len(rows):
            pairs = rows.contiguous().view(torch.int32).numpy().reshape(-1)
            into = products.numpy().reshape(-1)
            multiply(pairs, len(rows), self._flat, self._tokens, into)
        return products
