from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from whisper_service.audio.arriving import ArrivingSamples
from whisper_service.audio.speech import SpeechDetector
from whisper_service.domain import SAMPLE_RATE, Samples


def packet(samples: Samples) -> memoryview:
    return memoryview(samples).cast("B")


def numbers(count: int) -> Samples:
    return np.arange(count, dtype=np.float32)


def test_what_was_added_is_all_there_at_the_end() -> None:
    arriving = ArrivingSamples(1)
    for part in np.array_split(numbers(SAMPLE_RATE), 7):
        arriving.add(packet(np.ascontiguousarray(part)))
    np.testing.assert_array_equal(arriving.complete(), numbers(SAMPLE_RATE))


def test_a_reader_waits_until_all_it_wants_is_there() -> None:
    arriving = ArrivingSamples(1)
    arriving.add(packet(numbers(100)))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(arriving.read, 50, 150)
        assert not reading.done()
        arriving.add(packet(numbers(49)))
        assert not reading.done()
        arriving.add(packet(numbers(100)))
        np.testing.assert_array_equal(reading.result(5), [*range(50, 100), *range(49), 0])


@pytest.mark.parametrize(("first", "last", "count"), [(90, 110, 10), (100, 200, 0), (300, 400, 0)])
def test_a_reader_gets_less_where_the_recording_ends(first: int, last: int, count: int) -> None:
    arriving = ArrivingSamples(1)
    arriving.add(packet(numbers(100)))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(arriving.read, first, last)
        arriving.end()
        assert len(reading.result(5)) == count


def test_what_was_read_outlives_the_rest() -> None:
    arriving = ArrivingSamples(60)
    arriving.add(packet(numbers(SAMPLE_RATE)))
    early = arriving.read(0, SAMPLE_RATE)
    assert len(arriving.complete()) == SAMPLE_RATE
    np.testing.assert_array_equal(early, numbers(SAMPLE_RATE))


def test_more_than_was_allowed_is_refused() -> None:
    arriving = ArrivingSamples(0.01)
    with pytest.raises(ValueError, match="allowed"):
        arriving.add(packet(numbers(161)))


@pytest.mark.parametrize("payload", [b"", b"abcde"])
def test_no_or_half_a_sample_is_refused(payload: bytes) -> None:
    arriving = ArrivingSamples(1)
    arriving.add(memoryview(payload))
    with pytest.raises(ValueError, match="whole"):
        arriving.complete()


@pytest.mark.parametrize("seconds", [0, 0.01, 32.768, 33, 70.5])
def test_a_recording_is_heard_alike_while_it_arrives(seconds: float) -> None:
    """Also where it ends with a stretch of frames that are heard together."""
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE))
    samples = samples.astype(np.float32)
    detector = SpeechDetector()
    arriving = ArrivingSamples(100)
    with ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(detector.hear, arriving.read, lambda: False)
        for part in np.array_split(samples, 31):
            arriving.add(packet(np.ascontiguousarray(part)))
        arriving.end()
        heard = hearing.result(60)
    np.testing.assert_array_equal(heard, detector.speech_probabilities(samples))
    assert len(heard) == -(-len(samples) // 512)
