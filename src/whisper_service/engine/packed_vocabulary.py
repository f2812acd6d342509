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

from whisper_service.engine.kernels.few_rows import BLOCK, multiply
from whisper_service.engine.packed_weights import can_pack, flat_pairs, packed


def use_packed_vocabulary(model: Any) -> bool:
    """Replaces the embeddings and the last layer where there is a faster product.

    Args:
        model: vLLM's WhisperForConditionalGeneration.

    Returns:
        Whether it has.
    """
    decoder, head = model.model.decoder, model.proj_out
    weight: Tensor = decoder.embed_tokens.weight
    is_tied = head.weight.data_ptr() == weight.data_ptr() and head.weight.shape == weight.shape
    plain = type(decoder.embed_tokens) is nn.Embedding and hasattr(head, "cpu_linear")
    if not plain or not is_tied or not can_pack(weight.dtype):
        return False
    vocabulary = PackedVocabulary(weight.detach())
    nothing = torch.empty(0, dtype=weight.dtype)
    head.cpu_linear = vocabulary.logits
    head.weight = nn.Parameter(nothing, requires_grad=False)
    decoder.embed_tokens = vocabulary
    return True


class PackedVocabulary(nn.Module):
    """Embeddings of tokens, and the logits of all of them.

    Args:
        weight: bfloat16[tokens, width], copied; the width is even.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._tokens = len(weight)
        self._weights = packed(weight)
        self._flat = flat_pairs(self._weights)

    def forward(self, tokens: Tensor) -> Tensor:
        """bfloat16[any, width] for int64[any]."""
        return self._weights[tokens // BLOCK, :, tokens % BLOCK].flatten(-2)

    def logits(self, rows: Tensor, _weight: Any = None, _bias: Any = None) -> Tensor:
        """float32[rows, tokens] for bfloat16[rows, width]: in place of vLLM's `cpu_linear`."""
        products = torch.empty(len(rows), self._tokens)
        if len(rows):
            into = products.numpy().reshape(-1)
            multiply(flat_pairs(rows), len(rows), self._flat, self._tokens, into)
        return products
