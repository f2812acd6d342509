"""Whisper's log-mel spectrogram, computed on the device of the samples.

Equal to Transformers' `WhisperFeatureExtractor` (openai/whisper, audio.py, log_mel_spectrogram):
samples are padded with zeros to 30 s, and values more than 80 dB below the window's greatest are
raised to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from whisper_service.domain import SAMPLE_RATE

_FFT = 400  # samples in a frame of the short-time Fourier transform (audio.py, N_FFT)
_HOP = 160  # samples from one frame to the next (audio.py, HOP_LENGTH)
FRAMES = 3_000  # of a window: 100 a second (audio.py, N_FRAMES)
WINDOW_SAMPLES = FRAMES * _HOP  # 30 s
_FLOOR = 1e-10  # of a mel bin's power; its logarithm is that of silence
_SILENCE = -10.0  # log10 of the floor
_RANGE = 8.0  # powers of ten below the greatest value that are kept
_TOP_FREQUENCY = 8_000.0  # Hz


def log_mel(windows: Sequence[Tensor], bins: int) -> Tensor:
    """float32[windows, bins, 3000].

    Only frames that reach into the longest window's audio are transformed: the rest is silence.

    Args:
        windows: float32[samples] each, 16 kHz mono in [-1, 1], at least one; what is beyond 30 s is
            left out.
        bins: of the mel scale: 80, or 128 from large-v3 on.
    """
    device = windows[0].device
    longest = max(len(window) for window in windows)
    # A frame's worth of zeros behind the audio, unless the window is full: the transform mirrors
    # the last half frame, and must find there what stands at the end of 30 s.
    length = min(-(-(longest + _FFT) // _HOP) * _HOP, WINDOW_SAMPLES)
    padded = torch.zeros(len(windows), length, dtype=torch.float32, device=device)
    for row, window in zip(padded, windows, strict=True):
        row[: len(window)] = window[:length]
    hann, filters = _hann(device), _filters(bins, device)
    spectrum = torch.stft(padded, _FFT, _HOP, window=hann, return_complex=True)[..., :-1]
    # Contiguous: a product with a slice is several times slower on a CPU.
    power = spectrum.abs().square().contiguous()
    logarithm = (filters @ power).clamp_min(_FLOOR).log10()
    logarithm = functional.pad(logarithm, (0, FRAMES - logarithm.shape[-1]), value=_SILENCE)
    least = logarithm.amax(dim=(-2, -1), keepdim=True) - _RANGE
    return (torch.maximum(logarithm, least) + 4.0) / 4.0


@cache
def _hann(device: torch.device) -> Tensor:
    return torch.hann_window(_FFT, dtype=torch.float32, device=device)


@cache
def _filters(bins: int, device: torch.device) -> Tensor:
    """float32[bins, frequencies]: those of Transformers' feature extractor."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        num_frequency_bins=1 + _FFT // 2,
        num_mel_filters=bins,
        min_frequency=0.0,
        max_frequency=_TOP_FREQUENCY,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank.T.copy()).to(device, torch.float32)
