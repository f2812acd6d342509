"""vLLM's processor for Whisper, which turns requests into the engine's inputs in the API's process,
changed where it is not the reference's.
"""

from __future__ import annotations

from vllm.model_executor.models.whisper import (
    WhisperDummyInputsBuilder,
    WhisperForConditionalGeneration,
    WhisperMultiModalProcessor,
    WhisperProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY


class WhisperProcessor(WhisperMultiModalProcessor):  # type: ignore[misc]  # vLLM is not typed
    """Leaves the decoder's prompt as it is."""

    # vLLM would put <|startoftranscript|> before a prompt that begins with <|startofprev|>
    # (vllm/inputs/engine.py, build_enc_dec_input), a sequence that Whisper never saw.
    skip_decoder_start_token = True


def register() -> None:
    """Has vLLM's Whisper use this processor, in this process."""
    MULTIMODAL_REGISTRY.register_processor(
        WhisperProcessor, info=WhisperProcessingInfo, dummy_inputs=WhisperDummyInputsBuilder
    )(WhisperForConditionalGeneration)
