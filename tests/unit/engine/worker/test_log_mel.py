from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.engine.worker.log_mel import FRAMES, WINDOW_SAMPLES, log_mel

ONE_SAMPLE = 1 / SAMPLE_RATE


def speechlike(seconds: float, level: float, seed: int = 0) -> Samples:
    """Noise under a changing envelope, over tones: every mel bin and every frame differs."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(seed).normal(0, 0.3, len(time))
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (120, 950, 3_100, 7_600))
    samples = (noise + tones / 4) * np.abs(np.sin(time * 3 + 0.1))
    return (level * samples / max(np.abs(samples).max(), 1e-9)).astype(np.float32)


def full_scale(seconds: float) -> Samples:
    samples = np.where(np.arange(round(seconds * SAMPLE_RATE)) // 40 % 2, 1.0, -1.0)
    return samples.astype(np.float32)


def reference(samples: Samples, bins: int) -> torch.Tensor:
    extractor = WhisperFeatureExtractor(feature_size=bins)
    features = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")
    return torch.from_numpy(features["input_features"][0])


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("seconds", [ONE_SAMPLE, 0.1, 3.0, 29.97, 29.99, 30 - ONE_SAMPLE, 30.0])
@pytest.mark.parametrize("level", [1.0, 0.001])
def test_log_mel_equals_transformers(bins: int, seconds: float, level: float) -> None:
    samples = speechlike(seconds, level)
    (found,) = log_mel([torch.from_numpy(samples)], bins)
    assert found.shape == (bins, FRAMES)
    torch.testing.assert_close(found, reference(samples, bins), atol=1e-4, rtol=0)


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize(
    "samples", [np.zeros(48_000, np.float32), full_scale(3.0), full_scale(30.0)]
)
def test_silence_and_full_scale_equal_transformers(bins: int, samples: Samples) -> None:
    (found,) = log_mel([torch.from_numpy(samples)], bins)
    torch.testing.assert_close(found, reference(samples, bins), atol=1e-4, rtol=0)


def test_windows_of_a_batch_are_normalised_each_by_itself() -> None:
    windows = [speechlike(0.5, 1.0), speechlike(30.0, 0.01, seed=1), speechlike(7.3, 0.2, seed=2)]
    batch = log_mel([torch.from_numpy(window) for window in windows], 80)
    for window, found in zip(windows, batch, strict=True):
        torch.testing.assert_close(found, reference(window, 80), atol=1e-4, rtol=0)


def test_behind_the_audio_there_is_silence_as_in_the_reference() -> None:
    """The padding that was chosen by measurement: zeros, not the window's mean."""
    samples = speechlike(3.0, 1.0)
    (found,) = log_mel([torch.from_numpy(samples)], 80)
    tail = found[:, 302:]
    assert torch.equal(tail, torch.full_like(tail, float(found.max()) - 2.0))


def test_what_is_beyond_thirty_seconds_is_left_out() -> None:
    samples = torch.from_numpy(speechlike(31.0, 1.0))
    assert torch.equal(log_mel([samples], 80), log_mel([samples[:WINDOW_SAMPLES]], 80))
