"""Where a recording is louder than its own background, whatever it is that is heard there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_service.domain import SAMPLE_RATE, WINDOW_SAMPLES, Samples, Span

_HOP = SAMPLE_RATE // 100  # samples of 10 ms, the step in which loudness is measured
_SMOOTHED_HOPS = 10  # 100 ms, about a syllable
_ABOVE_BACKGROUND = 10.0  # power ratio, 10 dB; speech in noise of that level is still understood
_BACKGROUND_PERCENTILE = 10  # the pauses of dense speech are a tenth of it and more
_QUIETEST = 1e-6  # power, -60 dB of full scale: less is no recording of speech


def loud_spans(samples: Samples) -> tuple[Span, ...]:
    """The stretches of `samples` (float32[n]) that stand out of the background, in order.

    The background is measured anew for every 30 s. A sound that never pauses, such as music or
    steady noise, is background.
    """
    if len(samples) < _HOP:
        return ()
    blocks = range(0, len(samples) // _HOP * _HOP, WINDOW_SAMPLES)
    loud = np.concatenate([_is_loud(samples[begin : begin + WINDOW_SAMPLES]) for begin in blocks])
    edges = np.flatnonzero(np.diff(np.r_[False, loud, False].astype(np.int8)))
    return tuple(
        Span(int(start) * _HOP, int(end) * _HOP)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    )


def _is_loud(block: Samples) -> NDArray[np.bool_]:
    """bool[hops] of a block's whole hops."""
    hops = len(block) // _HOP
    power = np.square(block[: hops * _HOP], dtype=np.float32).reshape(hops, _HOP).mean(axis=1)
    smoothed = np.convolve(power, np.full(_SMOOTHED_HOPS, 1 / _SMOOTHED_HOPS), mode="same")[:hops]
    background = np.percentile(smoothed, _BACKGROUND_PERCENTILE)
    return smoothed > max(_ABOVE_BACKGROUND * background, _QUIETEST)
