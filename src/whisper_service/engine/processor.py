"""vLLM's processor for Whisper, changed where it is not the reference's.

It runs in the API's process, which turns each request's audio into log-mel features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm.model_executor.models.whisper import (
    WhisperDummyInputsBuilder,
    WhisperForConditionalGeneration,
    WhisperMultiModalProcessor,
    WhisperProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from whisper_service.domain import FRAMES_PER_SECOND, SAMPLE_RATE

_HOP = SAMPLE_RATE // FRAMES_PER_SECOND


class WhisperProcessor(WhisperMultiModalProcessor):  # type: ignore[misc]  # vLLM is not typed
    """Leaves the decoder's prompt as it is, and pads log-mel as openai/whisper does."""

    # vLLM would put <|startoftranscript|> before a prompt that begins with <|startofprev|>
    # (vllm/inputs/engine.py, build_enc_dec_input), a sequence that Whisper never saw.
    skip_decoder_start_token = True

    def _postprocess_hf_mm_data(
        self,
        hf_data: Mapping[str, Any],
        hf_kwargs: Mapping[str, Any],
        processed_data: Any,
    ) -> Any:
        """Sets the frames behind the audio's end to 0.0 (openai/whisper, audio.py, pad_or_trim).

        Transformers pads the samples, which gives about -0.6 there: silence that Whisper takes for
        the end of all speech more often.
        """
        processed = super()._postprocess_hf_mm_data(hf_data, hf_kwargs, processed_data)
        features = processed.get("input_features")
        for audio, window in zip(hf_data.get("audio", ()), features, strict=True):
            window[:, len(audio) // _HOP :] = 0.0
        return processed


def register() -> None:
    """Has vLLM's Whisper use this processor, in this process."""
    MULTIMODAL_REGISTRY.register_processor(
        WhisperProcessor, info=WhisperProcessingInfo, dummy_inputs=WhisperDummyInputsBuilder
    )(WhisperForConditionalGeneration)
