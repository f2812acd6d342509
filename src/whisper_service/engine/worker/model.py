"""The model that the engine runs: vLLM's Whisper, from samples on, with an encoder cache.

It is chosen by its name (`worker.plugin`), so that vLLM's own Whisper stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.models.whisper import (
    WhisperDummyInputsBuilder,
    WhisperForConditionalGeneration,
    WhisperProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from whisper_service.engine.parameters import ModelOptions
from whisper_service.engine.worker.alignment_pass import AlignmentPass, TextInWindow
from whisper_service.engine.worker.encoder_cache import EncoderCache
from whisper_service.engine.worker.log_mel import log_mel
from whisper_service.engine.worker.processor import WindowProcessor, name_of, unpack


@MULTIMODAL_REGISTRY.register_processor(
    WindowProcessor, info=WhisperProcessingInfo, dummy_inputs=WhisperDummyInputsBuilder
)
class WhisperServiceForConditionalGeneration(WhisperForConditionalGeneration):  # type: ignore[misc]  # vLLM is not typed
    """vLLM's Whisper, which computes log-mel itself and keeps its encoder's outputs."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        options = ModelOptions.from_config(vllm_config.additional_config)
        recent = options.encoder_cache_windows
        # As many more may wait for their words as are decoded.
        awaiting = max(recent, 2 * int(vllm_config.scheduler_config.max_num_seqs))
        self.encoder_cache = EncoderCache(recent, awaiting)
        self._alignment_heads = _by_layer(options.alignment_heads or self._upper_half())

    def _upper_half(self) -> list[tuple[int, int]]:
        """All heads of the upper half of the decoder's layers, as the reference takes where a model
        names none (openai/whisper, model.py).
        """
        layers = self.config.decoder_layers
        heads = range(self.config.decoder_attention_heads)
        return [(layer, head) for layer in range(layers // 2, layers) for head in heads]

    def embed_multimodal(
        self,
        *,
        samples: Sequence[Tensor],
        scales: Sequence[Tensor],
        names: Sequence[Tensor],
        **_: Any,
    ) -> list[Tensor]:
        """The encoder's output for each window, float[positions, width].

        Args:
            samples: int16[n] of each, a tensor where they are equally long (`processor.pack`).
            scales: float32 of each.
            names: uint8[bytes] of each.
        """

        def encode(places: list[int]) -> Sequence[Tensor]:
            windows = [unpack(samples[place], scales[place]) for place in places]
            return self.encode(windows).unbind()

        return self.encoder_cache.outputs([name_of(name) for name in names], encode)

    def encode(self, windows: Sequence[Tensor]) -> Tensor:
        """float[windows, positions, width] from float32[samples] each."""
        features = log_mel(windows, self.config.num_mel_bins).to(self.dtype)
        encoded: Tensor = self.model.get_encoder_outputs(features)
        return encoded

    def encoder_output(self, key: str) -> Tensor | None:
        """float[positions, width] of the window with this key; None: it is not there any more."""
        return self.encoder_cache.get(key)

    def alignment_pass(self, windows: Sequence[TextInWindow]) -> AlignmentPass:
        """Over several windows at once, with this rank's share of the alignment heads."""
        decoder = self.model.decoder
        first_head = decoder.layers[0].encoder_attn.num_heads * get_tensor_model_parallel_rank()
        return AlignmentPass(decoder, self._alignment_heads, windows, first_head)


def _by_layer(heads: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for layer, head in heads:
        found.setdefault(layer, []).append(head)
    return found
