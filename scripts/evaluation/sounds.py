"""Sounds without a word in them, made in memory: whatever text they yield is invented."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import SAMPLE_RATE, Samples

Wave = NDArray[np.float64]

SCALE = (220.0, 246.94, 261.63, 293.66, 329.63, 349.23, 392.0, 440.0)  # Hz, A minor
CHORDS = ((220.0, 261.63, 329.63), (174.61, 220.0, 261.63), (261.63, 329.63, 392.0))  # Am F C


def non_speech(seconds: float, seed: int) -> dict[str, Samples]:
    """Named sounds of `seconds` each; the same seed gives the same samples."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sounds: dict[str, Wave] = {"silence": np.zeros_like(time)}
    for decibels in (-60, -40, -20):
        sounds[f"white noise {decibels} dB"] = _scaled(rng.standard_normal(len(time)), decibels)
    for decibels in (-40, -20):
        sounds[f"pink noise {decibels} dB"] = _scaled(_pink(len(time), rng), decibels)
    sounds["gusts of noise"] = _scaled(_pink(len(time), rng) * (1 + np.sin(3 * time)) ** 2, -22)
    for frequency in (220, 1000, 3000):
        sounds[f"tone {frequency} Hz"] = _scaled(np.sin(2 * np.pi * frequency * time), -20)
    sounds["chord"] = _scaled(_voices(CHORDS[0], time), -20)
    sounds["slow chords"] = _scaled(_chords(time, beat=2.0), -20)
    sounds["melody with vibrato"] = _scaled(_melody(time, rng, beat=0.6, vibrato=0.006), -20)
    band = _chords(time, beat=0.5) + 2 * _melody(time, rng, beat=0.25) + _drums(time, rng)
    sounds["band with drums"] = _scaled(band, -18)
    sounds["clicks"] = _clicks(time, rng)
    sounds["mains hum"] = _scaled(_voices((50.0, 100.0, 150.0), time), -25)
    sounds["sweep"] = _scaled(np.sin(2 * np.pi * (60 + 3800 * time / (2 * seconds)) * time), -20)
    return {name: np.clip(wave, -1, 1).astype(np.float32) for name, wave in sounds.items()}


def _scaled(wave: Wave, decibels: float) -> Wave:
    """`wave` with this root mean square, in dB of full scale."""
    scaled: Wave = wave / np.sqrt(np.mean(wave**2)) * 10 ** (decibels / 20)
    return scaled


def _pink(length: int, rng: np.random.Generator) -> Wave:
    """Noise whose power falls with 1 / frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), length)


def _voices(frequencies: tuple[float, ...], time: Wave) -> Wave:
    """Notes of eight overtones each, as a bowed or blown instrument has them."""
    wave = np.zeros_like(time)
    for frequency in frequencies:
        for overtone in range(1, 9):
            wave += np.sin(2 * np.pi * frequency * overtone * time) / overtone
    return wave


def _struck(time: Wave, beat: float) -> Wave:
    """An envelope that rises in 10 ms and then dies away, once a beat."""
    phase = time % beat
    envelope: Wave = np.minimum(phase / 0.01, 1) * np.exp(-2 * phase / beat)
    return envelope


def _chords(time: Wave, beat: float) -> Wave:
    which = (time // beat).astype(int) % len(CHORDS)
    played = [np.where(which == i, _voices(chord, time), 0) for i, chord in enumerate(CHORDS)]
    wave: Wave = np.sum(played, axis=0) * _struck(time, beat)
    return wave


def _melody(time: Wave, rng: np.random.Generator, beat: float, vibrato: float = 0.0) -> Wave:
    beats = (time // beat).astype(int)
    pitch = rng.choice(SCALE, beats[-1] + 1)[beats] * (1 + vibrato * np.sin(2 * np.pi * 6 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    tones = [np.sin(overtone * phase) / overtone for overtone in range(1, 6)]
    wave: Wave = np.sum(tones, axis=0) * _struck(time, beat)
    return wave


def _drums(time: Wave, rng: np.random.Generator) -> Wave:
    kick = np.sin(2 * np.pi * 55 * time) * np.exp(-18 * (time % 0.5))
    snare = rng.standard_normal(len(time)) * np.exp(-25 * ((time + 0.5) % 1.0))
    wave: Wave = 3 * kick + snare
    return wave


def _clicks(time: Wave, rng: np.random.Generator) -> Wave:
    """Single loud samples at random moments, some eight a second: keys, needles, bad cables."""
    wave = np.zeros_like(time)
    count = int(8 * time[-1])
    wave[rng.integers(0, len(time), count)] = rng.uniform(0.3, 0.9, count)
    return wave
