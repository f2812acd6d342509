"""No channel is lost because another one is its inverse."""

from __future__ import annotations

import io

import numpy as np
import pytest

from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.audio.downmix import Downmix
from whisper_service.domain import SAMPLE_RATE, Samples

from .conftest import encode_audio

LIMITS = DecodeLimits(max_seconds=600, timeout_seconds=20)
RATE = 48_000
HALF = np.array([0.5, 0.5], np.float32)


def voice(seconds: float = 3.0, level: float = 0.3) -> np.ndarray:
    """Noise that comes and goes, as syllables do."""
    count = round(seconds * RATE)
    envelope = np.clip(np.sin(2 * np.pi * 3 * np.arange(count) / RATE), 0, None)
    noise = np.random.default_rng(0).normal(0, level, count)
    smooth = np.convolve(noise, np.ones(8) / 8, mode="same")
    return np.clip(smooth * envelope, -0.99, 0.99)


def heard(*channels: np.ndarray, layout: str = "stereo", codec: str = "pcm_s16le") -> Samples:
    container = {"pcm_s16le": "wav", "aac": "mp4", "libopus": "ogg", "flac": "flac"}[codec]
    data = encode_audio(
        np.stack(channels), container=container, codec=codec, rate=RATE, layout=layout
    )
    return decode(io.BytesIO(data), LIMITS)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize(
    "codec",
    ["pcm_s16le", "aac", *(pytest.param(c, marks=pytest.mark.slow) for c in ("flac", "libopus"))],
)
@pytest.mark.parametrize("ratio", [1.0, pytest.param(0.9, marks=pytest.mark.slow), 0.7])
def test_a_channel_that_is_the_others_inverse_silences_nobody(codec, ratio):
    samples = heard(voice(), -ratio * voice(), codec=codec)
    alone = heard(voice(), voice())
    assert level(samples) == pytest.approx(level(alone), rel=0.1)


@pytest.mark.parametrize("quiet", [1.0, 0.1, 0.01])
def test_it_does_so_at_any_level(quiet):
    samples = heard(quiet * voice(), -quiet * voice())
    assert level(samples) == pytest.approx(quiet * level(heard(voice(), voice())), rel=0.1)


@pytest.mark.parametrize("offset", [0.3, -0.1])
def test_a_constant_offset_hides_nothing(offset):
    samples = heard(voice() + offset, offset - voice())
    assert np.std(samples) == pytest.approx(level(heard(voice(), voice())), rel=0.1)


def test_noise_on_both_channels_hides_nothing():
    random = np.random.default_rng(1)
    one, other = (random.normal(0, 0.005, len(voice())) for _ in range(2))
    samples = heard(voice() + one, other - voice())
    assert level(samples) == pytest.approx(level(heard(voice(), voice())), rel=0.1)


def test_a_recording_that_is_wired_wrongly_in_a_part_of_it_only_is_whole():
    right, wrong = (voice(), voice()), (voice(), -voice())
    samples = heard(*(np.concatenate(each) for each in zip(right, wrong, right, strict=True)))
    second = SAMPLE_RATE
    levels = [level(samples[n * second : (n + 1) * second]) for n in range(9)]
    assert min(levels) > 0.8 * max(levels)


@pytest.mark.parametrize(
    ("layout", "signs"),
    [("quad", (1, -1, 1, -1)), ("2.1", (1, -1, 0)), ("5.1", (1, -1, 0, 0, 0, 0)),
     ("4.0", (0, 0, 1, 0)), ("7.1", (1, -1, 0, 0, 0, 0, 0, 0))],
)  # fmt: skip
def test_more_channels_cancel_no_more_than_two(layout, signs):
    samples = heard(*(sign * voice() for sign in signs), layout=layout)
    assert level(samples) > 0.2 * level(heard(voice(), voice()))


def test_a_voice_in_the_one_channel_that_the_mix_leaves_out_is_heard():
    silence = np.zeros_like(voice())
    samples = heard(silence, silence, voice(), layout="2.1")
    assert level(samples) == pytest.approx(level(heard(voice(), voice())), rel=0.1)


def test_channels_that_differ_are_mixed():
    one, other = voice(), np.roll(voice(), 5000)
    both = heard(one, other)
    assert both == pytest.approx((heard(one, one) + heard(other, other)) / 2, abs=1e-3)


def test_the_louder_of_two_that_cancel_is_taken_and_kept():
    block = voice(0.5).astype(np.float32)
    mix = Downmix(HALF)
    first = np.stack([0.8 * block, -block], axis=1)
    assert np.array_equal(mix(first), -block)
    second = np.stack([block, -0.9 * block], axis=1)  # hardly louder: no change of sign
    assert np.array_equal(mix(second), -np.float32(0.9) * block)
    third = np.stack([block, -0.6 * block], axis=1).astype(np.float32)
    assert np.array_equal(mix(third), block)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_no_number_decides_nothing(value):
    block = np.stack([voice(0.5), -voice(0.5)], axis=1).astype(np.float32)
    block[100, 0] = value
    assert Downmix(HALF)(block)[200] == 0


def test_silence_stays_silence():
    assert not Downmix(HALF)(np.zeros((100, 2), np.float32)).any()
