"""All speech is in exactly one window, nothing is cut in a word, and every time maps back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.audio.windows import SILENCE_SAMPLES, pack, plan, split_quietly, take
from whisper_service.domain import SAMPLE_RATE, WINDOW_SAMPLES, Samples, Span, Window

# Every sample says where it is: float32 counts exactly to 16.7 million.
RULER = np.arange(400 * SAMPLE_RATE, dtype=np.float32)
NOISE = np.random.default_rng(1).standard_normal(200 * SAMPLE_RATE, dtype=np.float32)

SHORTEST, LONGEST = SAMPLE_RATE // 10, 70 * SAMPLE_RATE


@st.composite
def speech(draw: st.DrawFn, longest: int = LONGEST) -> list[Span]:
    """Spans in order, some touching, some far apart."""
    lengths = st.one_of(
        st.integers(SHORTEST, longest), st.integers(SHORTEST, min(longest, 6 * SAMPLE_RATE))
    )
    gaps = st.one_of(st.just(0), st.integers(0, 2 * SAMPLE_RATE), st.integers(0, 40 * SAMPLE_RATE))
    spans: list[Span] = []
    position = 0
    for gap, length in draw(st.lists(st.tuples(gaps, lengths), max_size=40)):
        start, end = position + gap, position + gap + length
        if end > len(RULER):
            break
        spans.append(Span(start, end))
        position = end
    return spans


def positions(windows: list[Window]) -> np.ndarray:
    return np.concatenate([window.samples for window in windows] or [RULER[:0]]).astype(np.int64)


def seconds(value: float) -> int:
    return round(value * SAMPLE_RATE)


@settings(max_examples=40, deadline=None)
@given(speech())
def test_every_sample_of_speech_is_in_exactly_one_window_in_order(spans):
    found = positions(pack(RULER, spans))
    assert (np.diff(found) > 0).all()
    asked_for = np.zeros(len(RULER), bool)
    for span in spans:
        asked_for[span.start : span.end] = True
    assert asked_for[found].sum() == asked_for.sum()


@settings(max_examples=40, deadline=None)
@given(speech())
def test_only_short_silences_are_transcribed_along_with_speech(spans):
    silence = np.ones(len(RULER), bool)
    for span in spans:
        silence[span.start : span.end] = False
    for window in pack(RULER, spans):
        quiet = np.concatenate([silence[span.start : span.end] for span in window.spans])
        edges = np.flatnonzero(np.diff(np.r_[False, quiet, False]))
        assert all(end - start <= SILENCE_SAMPLES for start, end in edges.reshape(-1, 2))
        assert not quiet[0]
        assert not quiet[-1]


@settings(max_examples=40, deadline=None)
@given(speech())
def test_a_window_holds_at_most_30_s_and_never_next_to_nothing(spans):
    for window in pack(RULER, spans):
        assert SHORTEST <= len(window.samples) <= WINDOW_SAMPLES
        assert sum(len(span) for span in window.spans) == len(window.samples)
        assert all(len(span) > 0 for span in window.spans)
        pairs = pairwise(window.spans)
        assert all(a.end < b.start for a, b in pairs)


@settings(max_examples=40, deadline=None)
@given(speech())
def test_two_neighbouring_windows_would_never_have_fitted_into_one(spans):
    windows = pack(RULER, spans)
    for a, b in pairwise(windows):
        gap = b.spans[0].start - a.spans[-1].end
        between = min(gap, SILENCE_SAMPLES)
        assert len(a.samples) + between + len(b.samples) > WINDOW_SAMPLES


@settings(max_examples=40, deadline=None)
@given(speech(longest=5 * SAMPLE_RATE))
def test_phrases_fill_windows_well(spans):
    for window in pack(RULER, spans)[:-1]:
        assert window.seconds >= 24


@settings(max_examples=40, deadline=None)
@given(speech(), st.data())
def test_every_time_in_a_window_maps_back_to_its_sample(spans, data):
    for window in pack(RULER, spans):
        at = data.draw(st.integers(0, len(window.samples) - 1))
        assert seconds(window.file_start(at / SAMPLE_RATE)) == window.samples[at]
        # An end is the place behind the last sample.
        assert seconds(window.file_end((at + 1) / SAMPLE_RATE)) == window.samples[at] + 1
        assert seconds(window.file_start(0)) == window.spans[0].start
        assert seconds(window.file_end(window.seconds)) == window.spans[-1].end
        assert seconds(window.file_end(window.seconds + 5)) == window.spans[-1].end


@settings(max_examples=40, deadline=None)
@given(speech(), st.data())
def test_times_keep_their_order_on_the_way_back(spans, data):
    for window in pack(RULER, spans):
        times = st.floats(0, window.seconds)
        earlier, later = sorted([data.draw(times), data.draw(times)])
        assert window.file_start(earlier) <= window.file_start(later)
        assert window.file_end(earlier) <= window.file_end(later)


def test_on_the_seam_a_start_belongs_to_the_later_span_and_an_end_to_the_earlier():
    [window] = pack(RULER, [Span(0, 16_000), Span(160_000, 176_000)])
    assert window.seconds == 3.0, "a second of the silence is kept"
    assert window.file_end(1.5) == 1.5
    assert window.file_start(1.5) == 9.5
    assert window.seek == 0


def test_no_speech_makes_no_window():
    assert pack(RULER, []) == []
    assert split_quietly(RULER[:0]) == []


def test_a_window_of_one_span_is_a_view_and_costs_no_memory():
    [one] = pack(RULER, [Span(1000, 50_000)])
    assert np.shares_memory(one.samples, RULER)
    [two] = pack(RULER, [Span(1000, 50_000), Span(500_000, 550_000)])
    assert not np.shares_memory(two.samples, RULER)


def test_a_plan_can_be_taken_window_by_window():
    spans = [Span(k * 320_000, k * 320_000 + 160_000) for k in range(15)]
    taken = [take(RULER, group) for group in plan(RULER, spans)]
    packed = pack(RULER, spans)
    assert [window.spans for window in taken] == [window.spans for window in packed]


def test_a_short_pause_stays_and_a_long_one_is_shortened_to_a_second():
    second = SAMPLE_RATE
    [window] = pack(RULER, [Span(0, second), Span(2 * second, 3 * second)])
    assert window.spans == (Span(0, 3 * second),)
    [window] = pack(RULER, [Span(0, second), Span(3 * second, 4 * second)])
    half = second // 2
    assert window.spans == (Span(0, second + half), Span(3 * second - half, 4 * second))


def test_a_nearly_full_window_ends_in_the_longest_silence():
    second = SAMPLE_RATE
    spans = [
        Span(0, 12 * second),
        Span(12 * second, 25 * second),  # then a silence of 0.8 s: a sentence ends
        Span(round(25.8 * second), 28 * second),  # here the speaker only takes a breath
        Span(28 * second, 35 * second),
    ]
    first, second_window = pack(RULER, spans)
    assert first.spans == (Span(0, 25 * second),)
    assert second_window.spans == (Span(round(25.8 * second), 35 * second),)


def phrases(length: float, quiet: list[tuple[float, float]], background: float = 0.0) -> Samples:
    """Noise as loud as speech, with pauses (from, to) in seconds."""
    random = np.random.default_rng(0)
    samples = 0.2 * random.standard_normal(seconds(length))
    for start, end in quiet:
        pause = slice(seconds(start), seconds(end))
        samples[pause] = background * random.standard_normal(samples[pause].shape)
    return samples.astype(np.float32)


@pytest.mark.parametrize("background", [0.0, 0.02])
def test_speech_without_a_pause_for_long_is_cut_where_it_is_quietest(background):
    pauses = [(22.0, 22.3), (27.4, 27.7), (45.0, 45.25), (51.0, 51.3), (75.0, 75.3)]
    samples = phrases(90, pauses, background)
    windows = split_quietly(samples)
    assert [window.spans[0].start / SAMPLE_RATE for window in windows] == [
        0,
        pytest.approx(27.55, abs=0.15),
        pytest.approx(51.15, abs=0.15),
        pytest.approx(75.15, abs=0.15),
    ]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200 * SAMPLE_RATE), st.sampled_from(["ruler", "silence", "noise"]))
def test_splitting_quietly_drops_nothing_and_leaves_no_crumb(length, kind):
    samples = {"ruler": RULER, "silence": np.zeros_like(RULER), "noise": NOISE}[kind][:length]
    windows = split_quietly(samples)
    assert all(len(window.spans) == 1 for window in windows)
    assert windows[0].spans[0].start == 0
    assert windows[-1].spans[0].end == length
    for a, b in pairwise(windows):
        assert a.spans[0].end == b.spans[0].start
    assert all(len(window.samples) <= WINDOW_SAMPLES for window in windows)
    if length >= SHORTEST:
        assert all(len(window.samples) >= SHORTEST for window in windows)


def test_hours_are_packed_in_no_time():
    """What takes long is transcribing: 4 h of speech in phrases of 3 s."""
    step, count = 4 * SAMPLE_RATE, 3600
    spans = [Span(k * step, k * step + 3 * SAMPLE_RATE) for k in range(count)]
    groups = plan(RULER[:0], spans)  # nothing has to be cut: the samples are not looked at
    assert sum(len(span) for group in groups for span in group) >= count * 3 * SAMPLE_RATE
    assert all(sum(map(len, group)) >= 24 * SAMPLE_RATE for group in groups[:-1])
