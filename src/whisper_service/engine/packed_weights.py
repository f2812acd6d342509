"""Weights of the decoder on a processor, in the order that a few rows are multiplied by.

A step has a row for each window. Its products wait for their weights, and oneDNN's does so before
each part of them; here the next part is on its way from memory while one is multiplied
(`kernels.few_rows`). With AMX vLLM's products are fast as well, and stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from whisper_service.engine.kernels.few_rows import BLOCK, multiply_and_add
from whisper_service.engine.kernels.vectors import has_bfloat16

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

    def __call__(self, rows: Tensor) -> Tensor:
        """bfloat16[rows, outputs] for bfloat16[rows, width]."""
        if not 0 < len(rows) <= _FEW:
            product: Tensor = self._run(rows, self._weight, self._bias)
            return product
        products = torch.empty(len(rows), self._outputs, dtype=rows.dtype)
        into = products.view(torch.int16).numpy().reshape(-1)
        multiply_and_add(flat_pairs(rows), len(rows), self._flat, self._bias_bits, into)
        return products
