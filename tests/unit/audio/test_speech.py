"""Speech is found whole; silence, noise, music and clicks are not speech."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.audio import speech as speech_module
from whisper_service.audio.silero import model_path
from whisper_service.audio.speech import (
    FRAME_SAMPLES,
    MIN_SPEECH_MS,
    SpeechDetector,
    snap_to_speech,
    snap_word_to_speech,
    spans_of_speech,
)
from whisper_service.domain import SAMPLE_RATE, Samples, Span, SpeechOptions
from whisper_service.errors import Fault, ServiceError

SECONDS = 10
DEFAULT = SpeechOptions()
UNPADDED = SpeechOptions(prefix_padding_ms=0)


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector()


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def sounding(samples: Samples) -> tuple[int, int]:
    """Where a clean recording is above -40 dB: first and last sample."""
    power = np.convolve(samples**2, np.ones(320) / 320, "same")
    loud = np.flatnonzero(power > 1e-4)
    return int(loud[0]), int(loud[-1])


# What is speech


def test_every_recording_of_speech_is_found_whole(detector, recordings):
    for name, clip in recordings.items():
        spans = detector.find_speech(np.concatenate([silence(1), clip, silence(1)]), DEFAULT)
        first, last = sounding(clip)
        assert spans[0].start <= SAMPLE_RATE + first, name
        assert spans[-1].end >= SAMPLE_RATE + last, name
        inside = sum(len(span) for span in spans)
        assert inside >= 0.9 * (last - first), name


def test_silence_around_speech_is_left_out_but_for_the_padding(detector, recordings):
    clip = recordings["en/counting"]
    [span] = detector.find_speech(np.concatenate([silence(20), clip, silence(20)]), DEFAULT)
    assert span.start > 19.5 * SAMPLE_RATE
    assert span.end < 20.5 * SAMPLE_RATE + len(clip)


def test_clips_with_silence_between_are_found_apart(detector, recordings):
    clip = recordings["en/hello_world"]
    joined = np.concatenate([clip, silence(3), clip, silence(10), clip])
    spans = detector.find_speech(joined, DEFAULT)
    starts = [0, len(clip) + 3 * SAMPLE_RATE, 2 * len(clip) + 13 * SAMPLE_RATE]
    assert len(spans) == 3
    assert [span.start for span in spans] == pytest.approx(starts, abs=0.3 * SAMPLE_RATE)


def test_speech_in_noise_is_found(detector, recordings):
    clip = recordings["en/quick_brown_fox"]
    noise = np.random.default_rng(0).standard_normal(len(clip) + 4 * SAMPLE_RATE)
    noisy = (0.01 * noise).astype(np.float32)
    noisy[2 * SAMPLE_RATE :][: len(clip)] += clip
    spans = detector.find_speech(noisy, DEFAULT)
    first, last = sounding(clip)
    assert spans[0].start <= 2 * SAMPLE_RATE + first
    assert spans[-1].end >= 2 * SAMPLE_RATE + last - SAMPLE_RATE // 5


def test_quiet_speech_is_found(detector, recordings):
    clip = 0.05 * recordings["en/counting"]  # 26 dB down
    spans = detector.find_speech(np.concatenate([silence(1), clip, silence(1)]), DEFAULT)
    assert sum(len(span) for span in spans) > 0.7 * len(clip)


# What is not


def _pink(random: np.random.Generator, exponent: float) -> np.ndarray:
    spectrum = np.fft.rfft(random.standard_normal(SECONDS * SAMPLE_RATE))
    frequencies = np.maximum(np.arange(len(spectrum)), 1)
    noise = np.fft.irfft(spectrum / frequencies**exponent, SECONDS * SAMPLE_RATE)
    return noise / np.abs(noise).max()


def _melody(random: np.random.Generator) -> np.ndarray:
    """Plucked notes with overtones, two a second, over a drum."""
    tune = np.zeros((SECONDS + 1) * SAMPLE_RATE)
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for beat in range(2 * SECONDS):
        pitch = 220 * 2 ** (random.integers(0, 24) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in (1, 2, 3, 4)) * np.exp(-4 * t)
        drum = random.standard_normal(SAMPLE_RATE) * np.exp(-50 * t)
        tune[beat * SAMPLE_RATE // 2 :][:SAMPLE_RATE] += note + drum
    return 0.7 * (tune / np.abs(tune).max())[: SECONDS * SAMPLE_RATE]


def _clicks(random: np.random.Generator, length: int) -> np.ndarray:
    """Two a second: keys, a pen on a table, a bad contact."""
    track = np.zeros(SECONDS * SAMPLE_RATE)
    for start in range(1000, len(track) - length, SAMPLE_RATE // 2):
        fade = np.exp(-4 * np.arange(length) / length)
        track[start : start + length] = 0.9 * random.standard_normal(length).clip(-1, 1) * fade
    return track


@cache
def sounds_without_words() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    t = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    white = random.standard_normal(len(t))
    return {
        "silence": np.zeros_like(t),
        "a constant": np.full_like(t, 0.3),
        "faint white noise": 0.003 * white,
        "white noise": 0.1 * white,
        "loud white noise": (0.4 * white).clip(-1, 1),
        "pink noise": 0.5 * _pink(random, 0.5),
        "brown noise": 0.8 * _pink(random, 1.0),
        "a low tone": 0.5 * np.sin(2 * np.pi * 100 * t),
        "a tone": 0.5 * np.sin(2 * np.pi * 440 * t),
        "a high tone": 0.3 * np.sin(2 * np.pi * 3000 * t),
        "a chord": 0.2 * sum(np.sin(2 * np.pi * hertz * t) for hertz in (220, 277, 330)),
        "a siren": 0.4 * np.sin(2 * np.pi * 600 * t + 200 * np.sin(2 * np.pi * 0.5 * t)),
        # At 150 to 200 Hz, the pitch of a voice, the model takes this for one; Whisper does not.
        "a tone that swells": 0.4 * np.sin(2 * np.pi * 400 * t) * np.sin(2 * np.pi * 2 * t) ** 2,
        "a buzz": 0.3 * (2 * ((120 * t) % 1) - 1),
        "mains hum": 0.2 * sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 20)),
        "a dial tone": 0.3
        * (np.sin(2 * np.pi * 697 * t) + np.sin(2 * np.pi * 1209 * t))
        * (np.sin(2 * np.pi * 2 * t) > 0),
        "a melody": _melody(random),
        "ticks": _clicks(random, 1),
        "clicks": _clicks(random, 80),
        "taps": _clicks(random, 400),
        "knocks": _clicks(random, 1600),
    }


@pytest.mark.parametrize("kind", sounds_without_words())
def test_a_sound_without_words_is_no_speech(detector, kind):
    samples = sounds_without_words()[kind].astype(np.float32)
    assert detector.find_speech(samples, DEFAULT) == ()


def test_nothing_is_no_speech(detector):
    assert detector.find_speech(silence(0), DEFAULT) == ()
    assert len(detector.speech_probabilities(silence(0))) == 0


# The model


def test_the_probabilities_are_the_ones_that_the_streaming_model_gives(
    detector, recordings, monkeypatch
):
    """Many frames in a call against one at a time, through the package's other model."""
    monkeypatch.setattr(speech_module, "_FRAMES_PER_CALL", 100)
    samples = np.concatenate([*recordings.values()])[: 10 * SAMPLE_RATE + 100]
    path = model_path().with_name("silero_vad.onnx")
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), one_thread, providers=["CPUExecutionProvider"]
    )
    frames = -(-len(samples) // FRAME_SAMPLES)
    padded = np.zeros(frames * FRAME_SAMPLES, np.float32)
    padded[: len(samples)] = samples
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    expected = []
    for frame in padded.reshape(-1, FRAME_SAMPLES):
        inputs = {"input": np.r_[context, frame][None], "state": state, "sr": np.array(SAMPLE_RATE)}
        probability, state = session.run(None, inputs)
        expected.append(probability.item())
        context = frame[-64:]
    found = detector.speech_probabilities(samples)
    assert found.dtype == np.float32
    assert len(found) == frames
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_one_detector_serves_many_threads(detector, recordings):
    samples = np.concatenate([*recordings.values()])[: 10 * SAMPLE_RATE]
    expected = detector.speech_probabilities(samples)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(detector.speech_probabilities, [samples] * 4))
    assert len(results) == 4
    assert all(np.array_equal(result, expected) for result in results)


def test_a_search_that_nobody_waits_for_any_more_is_given_up(detector):
    asked = iter([False, True])
    with pytest.raises(ServiceError) as caught:
        detector.find_speech(silence(200), DEFAULT, cancelled=lambda: next(asked))
    assert caught.value.fault is Fault.TIMED_OUT


def test_a_detector_that_was_not_used_yet_has_not_imported_torch():
    code = (
        "import sys; from whisper_service.audio.speech import SpeechDetector; SpeechDetector();"
        "assert not {'torch', 'silero_vad'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# From probabilities to spans


def read_slowly(probabilities: list[float], n_samples: int, options: SpeechOptions) -> list[Span]:
    """The rules once more, frame by frame, as one would say them."""
    spans: list[list[int]] = []
    speaking, silent_since = False, None
    for frame, probability in enumerate(probabilities):
        at = frame * FRAME_SAMPLES
        if probability >= options.threshold:
            if not speaking:
                spans.append([at, n_samples])
            speaking, silent_since = True, None
        elif speaking and probability < max(options.threshold - 0.15, 0.01):
            silent_since = at if silent_since is None else silent_since
        if speaking and silent_since is not None:
            spans[-1][1] = silent_since
            if at + FRAME_SAMPLES - silent_since >= options.silence_duration_ms * 16:
                speaking, silent_since = False, None
        elif speaking:
            spans[-1][1] = n_samples
    spans = [span for span in spans if span[1] - span[0] >= MIN_SPEECH_MS * 16]
    padding = options.prefix_padding_ms * 16
    padded = []
    for index, (start, end) in enumerate(spans):
        before = (spans[index - 1][1] + start) // 2 if index else 0
        after = (end + spans[index + 1][0]) // 2 if index + 1 < len(spans) else n_samples
        padded.append(Span(max(start - padding, before), min(end + padding, after)))
    return padded


PROBABILITIES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.34, 0.36, 0.45, 0.5, 0.9, 1.0]), st.integers(1, 15)),
    max_size=30,
).map(lambda runs: [value for value, count in runs for _ in range(count)])


@settings(max_examples=150, deadline=None)
@given(
    PROBABILITIES,
    st.integers(0, FRAME_SAMPLES - 1),
    st.builds(
        SpeechOptions,
        threshold=st.sampled_from([0.1, 0.5, 0.9]),
        prefix_padding_ms=st.sampled_from([0, 30, 300]),
        silence_duration_ms=st.sampled_from([0, 100, 200, 2000]),
    ),
)
def test_spans_follow_the_rules(probabilities, missing, options):
    n_samples = max(len(probabilities) * FRAME_SAMPLES - missing, 0)
    found = spans_of_speech(np.array(probabilities, np.float32), n_samples, options)
    assert list(found) == read_slowly(probabilities, n_samples, options)


@settings(max_examples=100, deadline=None)
@given(PROBABILITIES)
def test_spans_are_in_order_disjoint_and_inside_the_recording(probabilities):
    n_samples = len(probabilities) * FRAME_SAMPLES
    spans = spans_of_speech(np.array(probabilities, np.float32), n_samples, DEFAULT)
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= n_samples for edge in edges)
    assert all(len(span) >= MIN_SPEECH_MS * 16 for span in spans)


def probabilities_of(*runs: tuple[float, float]) -> tuple[np.ndarray, int]:
    frames = [np.full(round(seconds / 0.032), value) for value, seconds in runs]
    together = np.concatenate(frames).astype(np.float32)
    return together, len(together) * FRAME_SAMPLES


def test_where_paddings_meet_the_silence_is_shared():
    both = spans_of_speech(*probabilities_of((0, 1), (1, 1), (0, 0.4), (1, 1), (0, 1)), DEFAULT)
    assert len(both) == 2
    assert both[0].end == both[1].start == pytest.approx(2.2 * SAMPLE_RATE, abs=FRAME_SAMPLES)


def test_a_pause_shorter_than_asked_for_does_not_end_a_span():
    runs = probabilities_of((1, 1), (0, 0.4), (1, 1))
    assert len(spans_of_speech(*runs, SpeechOptions(silence_duration_ms=300))) == 2
    assert len(spans_of_speech(*runs, SpeechOptions(silence_duration_ms=500))) == 1


def test_a_higher_threshold_finds_less():
    runs = probabilities_of((0, 1), (0.6, 1), (0, 1))
    assert len(spans_of_speech(*runs, SpeechOptions(threshold=0.5))) == 1
    assert len(spans_of_speech(*runs, SpeechOptions(threshold=0.7))) == 0


# Times

SPEECH = (Span(16_000, 32_000), Span(320_000, 480_000))  # 1 to 2 s, and 20 to 30 s


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ((0.0, 2.4), (1.0, 2.0)),  # the silence around belongs to nobody
        ((1.2, 1.8), (1.2, 1.8)),  # inside speech Whisper knows better
        ((0.9, 20.1), (1.0, 2.0)),  # a time a little beyond the seam
        ((1.9, 29.0), (20.0, 29.0)),  # a time a little before the seam
        ((1.5, 25.0), (1.5, 25.0)),  # a segment that really spans the silence
        ((5.0, 6.0), (5.0, 6.0)),  # no speech in it: nothing to go by
        ((40.0, 41.0), (40.0, 41.0)),
        ((1.95, 1.99), (1.95, 1.99)),
    ],
)
def test_times_move_to_where_the_speech_is(said, meant):
    assert snap_to_speech(*said, SPEECH) == meant


def test_without_known_speech_times_stay():
    assert snap_to_speech(1.0, 2.0, ()) == (1.0, 2.0)


def test_a_short_word_at_the_end_is_not_taken_away():
    spans = (Span(16_000, 32_000), Span(48_000, 51_200))  # "..., no."
    assert snap_to_speech(1.0, 3.2, spans) == (1.0, 3.2)
    assert snap_to_speech(1.0, 3.15, spans) == (1.0, 3.15)


def test_a_word_that_reaches_into_speech_is_where_the_speech_is():
    spans = (Span(16_000, 32_000),)
    assert snap_to_speech(0.5, 1.1, spans) == (
        1.0,
        1.1,
    )  # alignment likes to begin early
    assert snap_to_speech(1.9, 2.6, spans) == (1.9, 2.0)
    assert snap_to_speech(2.2, 2.6, spans) == (2.2, 2.6)


def test_a_word_has_no_pause_in_it():
    spans = (Span(16_000, 32_000), Span(56_000, 72_000), Span(76_000, 80_000))
    assert snap_word_to_speech(1.2, 3.9, spans) == (1.2, 2.0)
    assert snap_word_to_speech(1.6, 4.4, spans) == (3.5, 4.4)
    assert snap_word_to_speech(3.6, 4.9, spans) == (3.6, 4.9)  # a stop in a long word
    assert snap_word_to_speech(2.2, 2.6, spans) == (2.2, 2.6)
    assert snap_word_to_speech(0.2, 0.6, ()) == (0.2, 0.6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 400_000), max_size=12),
    st.floats(0, 150),
    st.floats(0, 60),
)
def test_times_only_move_towards_each_other(steps, start, length):
    edges = list(accumulate(steps))
    spans = [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    new_start, new_end = snap_to_speech(start, start + length, spans)
    assert start <= new_start <= new_end <= start + length
    assert new_start < new_end or start == start + length


def test_a_gap_of_minutes_in_a_file_costs_nothing_and_hides_no_speech(detector, recordings):
    clip = recordings["en/counting"]
    gap = np.zeros(300 * SAMPLE_RATE, np.float32)
    detector.load()
    began = time.monotonic()
    silent = detector.speech_probabilities(gap)
    assert time.monotonic() - began < 0.2
    assert len(silent) == -(-len(gap) // 512)
    assert not silent.any()
    alone = detector.find_speech(clip, UNPADDED)
    behind = detector.find_speech(np.concatenate([gap, clip]), UNPADDED)
    moved = [(span.start + len(gap), span.end + len(gap)) for span in alone]
    found = [(span.start, span.end) for span in behind]
    assert np.abs(np.subtract(found, moved)).max() <= 3 * 512
