from __future__ import annotations

import numpy as np
import pytest

from whisper_service.audio.loudness import loud_spans
from whisper_service.domain import SAMPLE_RATE, Samples


def noise(seconds: float, level: float) -> Samples:
    """White noise with this root mean square; 1 is full scale."""
    rng = np.random.default_rng(round(seconds * 1000))
    return rng.normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def seconds_of(samples: Samples) -> list[tuple[float, float]]:
    return [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in loud_spans(samples)]


@pytest.mark.parametrize("background", [0.0, 1e-4, 0.01])
@pytest.mark.parametrize("above", [0.03, 0.3])
def test_what_stands_out_is_found(background: float, above: float) -> None:
    samples = noise(40, background)
    for begin, end in ((3, 5), (28, 32), (35, 35.5)):
        samples[begin * SAMPLE_RATE : round(end * SAMPLE_RATE)] += noise(end - begin, 4 * above)
    found = seconds_of(samples)
    # The background of the last ten seconds is measured by itself: a stretch may be cut there.
    assert [round(begin) for begin, _ in found if begin != 30] == [3, 28, 35]
    assert [round(2 * end) / 2 for _, end in found if end != 30] == [5, 32, 35.5]


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.01, 0.3])
def test_what_never_pauses_is_background(level: float) -> None:
    assert seconds_of(noise(45, level)) == []


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 480_001])
def test_recordings_of_any_length(samples: int) -> None:
    assert loud_spans(np.zeros(samples, np.float32)) == ()
    assert all(span.end <= samples for span in loud_spans(np.ones(samples, np.float32)))
