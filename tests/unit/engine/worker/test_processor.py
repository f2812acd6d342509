"""What travels to the model in place of features; vLLM's own processor is inherited from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from whisper_service.domain import Samples
from whisper_service.engine.parameters import WindowName
from whisper_service.engine.worker.log_mel import WINDOW_SAMPLES, log_mel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports


@pytest.fixture(scope="module")
def processor() -> Any:
    from whisper_service.engine.worker.processor import WindowProcessor

    return WindowProcessor.__new__(WindowProcessor)


def items(samples: Samples) -> Any:
    from vllm.multimodal.parse import AudioProcessorItems, MultiModalDataItems

    return MultiModalDataItems({"audio": AudioProcessorItems([samples])})


def inputs(uuid: str | None) -> Any:
    return SimpleNamespace(
        mm_uuid_items=None if uuid is None else {"audio": [uuid]}, hf_processor_mm_kwargs={}
    )


def sent(processor: Any, samples: Samples, uuid: str | None = None) -> Any:
    options = processor._get_cache_missing_processor_kwargs(inputs(uuid), None)
    return processor._apply_hf_processor_main(items(samples), options)


def test_decoder_prompts_are_left_as_they_are(processor: Any) -> None:
    assert processor.skip_decoder_start_token is True
    from vllm.model_executor.models.whisper import WhisperMultiModalProcessor

    assert WhisperMultiModalProcessor.skip_decoder_start_token is False


def test_a_clip_of_three_seconds_sends_three_seconds(processor: Any) -> None:
    fields = sent(processor, np.ones(48_000, np.float32))
    (samples,) = fields["samples"]
    assert samples.dtype == torch.int16
    assert samples.shape == (48_000,)
    assert set(processor._get_mm_fields_config(fields, {})) == set(fields)


def test_what_is_beyond_thirty_seconds_is_not_sent(processor: Any) -> None:
    (samples,) = sent(processor, np.ones(WINDOW_SAMPLES + 1, np.float32))["samples"]
    assert len(samples) == WINDOW_SAMPLES


@pytest.mark.parametrize("name", [WindowName("a4b1"), WindowName("a4b1", is_aligned_later=True)])
def test_the_windows_name_travels_with_its_samples(processor: Any, name: WindowName) -> None:
    from whisper_service.engine.worker.processor import name_of

    (encoded,) = sent(processor, np.zeros(9, np.float32), name.as_uuid())["names"]
    assert name_of(encoded) == name


def test_vllms_own_dummy_windows_have_no_name_and_are_whole(processor: Any) -> None:
    from whisper_service.engine.worker.processor import name_of

    fields = sent(processor, np.zeros(WINDOW_SAMPLES, np.float32))
    assert name_of(fields["names"][0]) is None
    assert len(fields["samples"][0]) == WINDOW_SAMPLES


def test_a_request_that_vllm_has_the_samples_of_sends_nothing(processor: Any) -> None:
    assert not processor._apply_hf_processor_main({}, {})


def test_the_name_is_no_part_of_what_vllm_caches_by(processor: Any) -> None:
    asked = inputs("key")
    processor._get_cache_missing_processor_kwargs(asked, None)
    assert asked.hf_processor_mm_kwargs == {}


@pytest.mark.parametrize("level", [1e-6, 0.001, 0.5, 1.0, 3.0])
def test_sixteen_bits_are_enough_for_log_mel_however_quiet_the_window(level: float) -> None:
    from whisper_service.engine.worker.processor import pack, unpack

    noise = np.random.default_rng(0).normal(0, 1, 48_000)
    samples = (level * noise * np.sin(np.arange(48_000) / 9_000) ** 2).astype(np.float32)
    packed, scale = pack(samples)
    back = unpack(packed, torch.tensor(scale))
    exact, rounded = (
        log_mel([each * (0.5 / level)], 80) for each in (torch.from_numpy(samples), back)
    )
    # Of values that lie between -1.5 and 1.5: 0.25 is a power of ten.
    assert (exact - rounded).abs().max() < 0.05
    assert (exact - rounded).abs().mean() < 1e-3


def test_silence_stays_silence() -> None:
    from whisper_service.engine.worker.processor import pack, unpack

    packed, scale = pack(np.zeros(100, np.float32))
    assert torch.equal(unpack(packed, torch.tensor(scale)), torch.zeros(100))


@pytest.mark.parametrize("part", [slice(None), slice(32_000, 33_000), slice(32_768, 32_770)])
def test_audio_of_sixteen_bits_comes_back_exactly(part: slice) -> None:
    from whisper_service.engine.worker.processor import pack, unpack

    samples = (np.arange(-32_768, 32_768, dtype=np.float32) / 32_768)[part]
    packed, scale = pack(samples)
    assert torch.equal(unpack(packed, torch.tensor(scale)), torch.from_numpy(samples))


@pytest.mark.parametrize("level", [1e-45, 1e-38, 1e-20])
def test_what_is_nearly_nothing_is_nearly_nothing(level: float) -> None:
    from whisper_service.engine.worker.processor import pack, unpack

    packed, scale = pack(np.full(100, level, np.float32))
    assert unpack(packed, torch.tensor(scale)).abs().max() <= 2 * level


def test_samples_at_full_scale_come_back() -> None:
    from whisper_service.engine.worker.processor import pack, unpack

    samples = np.arange(-32_767, 32_768, dtype=np.float32) / 32_767
    packed, scale = pack(samples)
    torch.testing.assert_close(
        unpack(packed, torch.tensor(scale)), torch.from_numpy(samples), atol=1e-7, rtol=0
    )
