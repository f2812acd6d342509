"""The decoder's weights on a processor, in the order that a few rows are multiplied by.

A step has a row for each window. Its products wait for their weights, and oneDNN's does so before
each part of them; here the next part is on its way from memory while one is multiplied
(`kernels.few_rows`). With AMX vLLM's products are fast as well, and stay.

Whisper's embeddings of tokens are its last layer's weights as well. vLLM keeps them twice, once in
the order that oneDNN multiplies by, and rounds logits to bfloat16: near 20, its steps are 0.125, so
the top tokens often tie. Here these weights are kept once, and logits stay float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whisper_service.engine.cpu.comparison import DiffersError, is_close, random_states
from whisper_service.engine.cpu.kernels.few_rows import BLOCK, multiply, multiply_and_add
from whisper_service.engine.cpu.kernels.vectors import has_bfloat16

_ROWS = 5  # that products are compared with vLLM's for
_ERROR = 0.02  # of both together: bfloat16 is rounded to 2^-9 of a number
_FEW = 24  # rows; for more oneDNN's product is as fast


def can_pack(dtype: torch.dtype) -> bool:
    """Whether there are the instructions, and nothing better."""
    amx: bool = torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    return dtype == torch.bfloat16 and has_bfloat16() and not amx


def packed(weight: Tensor) -> Tensor:
    """[blocks, pairs of an output's numbers, outputs of a block, two] of bfloat16[outputs, width].

    The width is even; what the last block lacks is 0.
    """
    filled = functional.pad(weight, (0, 0, 0, -len(weight) % BLOCK))
    return filled.view(-1, BLOCK, weight.shape[1] // 2, 2).transpose(1, 2).contiguous()


def flat_pairs(numbers: Tensor) -> NDArray[np.int32]:
    """Two bfloat16 in each integer."""
    pairs: NDArray[np.int32] = numbers.contiguous().view(torch.int32).numpy().reshape(-1)
    return pairs


def fills_blocks(layer: Any) -> bool:
    """Whether a linear layer of vLLM's has whole blocks of outputs, as every Whisper's does."""
    return bool(layer.output_size % BLOCK == 0 and layer.input_size % 2 == 0)


class PackedLinear:
    """A linear layer of vLLM's: by its own product where there are many rows.

    Args:
        layer: with vLLM's `cpu_linear`; it `fills_blocks`.

    Raises:
        DiffersError: its products are not vLLM's.
    """

    def __init__(self, layer: Any) -> None:
        self._run, self._weight, self._bias = layer.cpu_linear, layer.weight, layer.bias
        # vLLM has let go of the weights themselves: each is the product with a single 1.
        ones = torch.eye(layer.input_size, dtype=torch.bfloat16)
        weight = self._run(ones, self._weight, None).T
        self._outputs = len(weight)
        self._flat = flat_pairs(packed(weight.contiguous()))
        bias = torch.zeros(self._outputs, dtype=weight.dtype) if self._bias is None else self._bias
        self._bias_bits = bias.detach().view(torch.int16).numpy()
        rows = random_states(_ROWS, layer.input_size, dtype=weight.dtype)
        if not is_close(self(rows), self._run(rows, self._weight, self._bias), _ERROR):
            raise DiffersError("a layer's products differ")

    def __call__(self, rows: Tensor) -> Tensor:
        """bfloat16[rows, outputs] for bfloat16[rows, width]."""
        if not 0 < len(rows) <= _FEW:
            product: Tensor = self._run(rows, self._weight, self._bias)
            return product
        products = torch.empty(len(rows), self._outputs, dtype=rows.dtype)
        into = products.view(torch.int16).numpy().reshape(-1)
        multiply_and_add(flat_pairs(rows), len(rows), self._flat, self._bias_bits, into)
        return products


def _compare(vocabulary: PackedVocabulary, embeddings: nn.Embedding, head: Any) -> None:
    tokens = torch.arange(0, len(embeddings.weight), max(len(embeddings.weight) // _ROWS, 1))
    rows = random_states(_ROWS, embeddings.weight.shape[1], dtype=embeddings.weight.dtype)
    theirs = head.cpu_linear(rows, head.weight, None)
    if not torch.equal(vocabulary(tokens), embeddings(tokens)):
        raise DiffersError("its embeddings differ")
    if not is_close(vocabulary.logits(rows), theirs, _ERROR):
        raise DiffersError("its logits differ")


def use_packed_vocabulary(model: Any) -> bool:
    """Replaces the embeddings and the last layer where there is a faster product.

    Args:
        model: vLLM's WhisperForConditionalGeneration.

    Returns:
        Whether it has.

    Raises:
        DiffersError: it computes something else than vLLM's.
    """
    decoder, head = model.model.decoder, model.proj_out
    weight: Tensor = decoder.embed_tokens.weight
    is_tied = head.weight.data_ptr() == weight.data_ptr() and head.weight.shape == weight.shape
    plain = type(decoder.embed_tokens) is nn.Embedding and hasattr(head, "cpu_linear")
    if not plain or not is_tied or not can_pack(weight.dtype):
        return False
    vocabulary = PackedVocabulary(weight.detach())
    _compare(vocabulary, decoder.embed_tokens, head)
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
