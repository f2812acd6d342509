"""What of a request travels to the model: the window's samples and its name.

vLLM's own processor computes log-mel in the service's process, on its one thread, and sends 30 s of
it for every window. Samples of the window's length are less, and the model's device is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature
from vllm.model_executor.models.whisper import WhisperMultiModalProcessor
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import AudioProcessorItems

from whisper_service.domain import Samples
from whisper_service.engine.parameters import WindowName
from whisper_service.engine.worker.log_mel import WINDOW_SAMPLES

_UUID = "window_uuid"
_LARGEST = 2**15 - 1
_STEP = 2.0**-15  # of audio of 16 bits, where 1 is full scale
_NO_NAME = ""


class WindowProcessor(WhisperMultiModalProcessor):  # type: ignore[misc]  # vLLM is not typed
    """Sends `samples`, `scales` and `names` in place of `input_features`."""

    # Else vLLM puts <|startoftranscript|> before a prompt that begins with <|startofprev|>
    # (vllm/inputs/engine.py, build_enc_dec_input), a sequence that Whisper never saw.
    skip_decoder_start_token = True

    def _get_cache_missing_processor_kwargs(self, inputs: Any, mm_is_cached: Any) -> dict[str, Any]:
        """Where vLLM keeps what it has processed: what a window is processed with that it has not.

        No part of the key that it is kept by: the name is the key.
        """
        options = super()._get_cache_missing_processor_kwargs(inputs, mm_is_cached)
        return {**options, _UUID: _uuid(inputs)}

    def _apply_hf_processor(self, inputs: Any, timing_ctx: Any) -> Any:
        """Where vLLM keeps nothing."""
        options = {**inputs.hf_processor_mm_kwargs, _UUID: _uuid(inputs)}
        return super()._apply_hf_processor(
            replace(inputs, hf_processor_mm_kwargs=options), timing_ctx
        )

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, Any]) -> BatchFeature:
        if "audio" not in mm_items:
            return BatchFeature()
        windows = mm_items.get_items("audio", AudioProcessorItems).get_all()
        packed = [pack(np.asarray(window, np.float32)) for window in windows]
        name = hf_kwargs.get(_UUID, _NO_NAME)
        return BatchFeature(
            {
                "samples": [samples for samples, _ in packed],
                "scales": torch.tensor([scale for _, scale in packed]),
                "names": [_encode(name)] * len(packed),
            }
        )

    def _get_mm_fields_config(
        self,
        hf_inputs: BatchFeature,  # noqa: ARG002 -- vLLM's signature
        hf_processor_mm_kwargs: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        return {
            "samples": MultiModalFieldConfig.batched("audio"),
            "scales": MultiModalFieldConfig.batched("audio"),
            # The host reads it: on a GPU that would wait for the device.
            "names": MultiModalFieldConfig.batched("audio", keep_on_cpu=True),
        }


def pack(samples: Samples) -> tuple[Tensor, float]:
    """int16[n] and what they are multiplied by to be the samples again.

    Half the bytes of float32. Audio of 16 bits at 16 kHz stays as it is. Else the scale is the
    window's own, so that what is rounded off lies 90 dB below its loudest sample, where log-mel
    keeps 80 dB.
    """
    samples = samples[:WINDOW_SAMPLES]
    steps = samples * np.float32(1 / _STEP)
    is_int16 = steps.min(initial=0) >= -_LARGEST - 1 and steps.max(initial=0) <= _LARGEST
    if is_int16 and np.array_equal(steps, np.rint(steps)):
        return torch.from_numpy(steps.astype(np.int16)), _STEP
    peak = float(np.abs(samples).max(initial=0.0))
    scale = max(peak / _LARGEST, float(np.finfo(np.float32).tiny))
    return torch.from_numpy(np.rint(samples / np.float32(scale)).astype(np.int16)), scale


def unpack(samples: Tensor, scale: Tensor) -> Tensor:
    """float32[n] of what `pack` gave."""
    return samples.float() * scale


def name_of(encoded: Tensor) -> WindowName | None:
    """The name that travelled as uint8[bytes]; None: nobody will ask for the window again."""
    uuid = encoded.numpy().tobytes().decode()
    return WindowName.from_uuid(uuid) if uuid else None


def _encode(uuid: str) -> Tensor:
    return torch.tensor([*uuid.encode()], dtype=torch.uint8)


def _uuid(inputs: Any) -> str:
    """Of the request's one window; empty in vLLM's own dummy runs."""
    (uuid, *_) = (inputs.mm_uuid_items or {}).get("audio") or [None]
    return uuid or _NO_NAME
