from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_service.domain import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Segment,
    Span,
    Task,
    Transcript,
    Window,
)

DRAWN = st.lists(st.tuples(st.integers(1, 50_000), st.integers(1, 80_000)), min_size=1, max_size=6)


def window_of(gaps_and_lengths: list[tuple[int, int]]) -> Window:
    """A window of spans with these gaps before them; each sample is its own number."""
    spans, position = [], 0
    for gap, length in gaps_and_lengths:
        spans.append(Span(position + gap, position + gap + length))
        position = spans[-1].end
    samples = np.concatenate([np.arange(span.start, span.end) for span in spans])
    return Window(samples.astype(np.float32), tuple(spans))


def seconds_of(*spans: tuple[float, float]) -> Window:
    cut = tuple(Span(round(a * SAMPLE_RATE), round(b * SAMPLE_RATE)) for a, b in spans)
    return Window(np.zeros(sum(map(len, cut)), np.float32), cut)


PACKED = seconds_of((10, 15), (100, 110))


def test_a_window_is_as_long_as_its_spans_together() -> None:
    assert PACKED.seconds == 15
    assert WINDOW_SAMPLES == 480_000


def test_a_windows_seek_is_where_its_first_span_starts_in_frames() -> None:
    assert PACKED.seek == 1000
    assert seconds_of((0, 1)).seek == 0
    assert seconds_of((12.345, 13)).seek == 1234


@pytest.mark.parametrize(
    ("seconds", "start", "end"),
    [
        (0, 10, 10),
        (4.98, 14.98, 14.98),
        (5, 100, 15),  # the seam: a start belongs to what follows, an end to what was before
        (5.02, 100.02, 100.02),
        (15, 110, 110),
        (20, 110, 110),
        (-1, 10, 10),
    ],
)
def test_times_lead_back_into_the_file(seconds: float, start: float, end: float) -> None:
    assert PACKED.file_start(seconds) == pytest.approx(start)
    assert PACKED.file_end(seconds) == pytest.approx(end)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((1, 2), (11, 12)),
        ((4, 5.5), (14, 15)),  # most of it is before the seam
        ((4.8, 7), (100, 102)),  # and here after it
        ((5, 5), (100, 100)),
        ((14, 99), (109, 110)),
        ((-1, 1), (10, 11)),
    ],
)
def test_one_things_two_times_are_in_one_span(
    times: tuple[float, float], expected: tuple[float, float]
) -> None:
    assert PACKED.file_times(*times) == pytest.approx(expected)


@given(drawn=DRAWN, data=st.data())
def test_every_sample_leads_back_to_its_own_place(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    window = window_of(drawn)
    sample = data.draw(st.integers(0, len(window.samples) - 1))
    place = window.samples[sample] / SAMPLE_RATE
    assert window.file_start(sample / SAMPLE_RATE) == pytest.approx(place)
    after = (sample + 1) / SAMPLE_RATE
    assert window.file_end(after) == pytest.approx(place + 1 / SAMPLE_RATE)


@given(drawn=DRAWN, data=st.data())
def test_a_cut_loses_no_sample_and_keeps_each_in_its_span(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    window = window_of(drawn)
    sample = data.draw(st.integers(0, len(window.samples)))
    before, after = window.cut(sample)
    np.testing.assert_array_equal(np.r_[before.samples, after.samples], window.samples)
    assert len(before.samples) == sample
    for part in (before, after):
        assert all(len(span) > 0 for span in part.spans)
        own = [np.arange(span.start, span.end) for span in part.spans] or [np.empty(0)]
        np.testing.assert_array_equal(np.concatenate(own), part.samples)


@given(drawn=DRAWN, seconds=st.floats(-1, 40))
def test_what_comes_after_a_time_starts_at_that_times_place(
    drawn: list[tuple[int, int]], seconds: float
) -> None:
    window = window_of(drawn)
    rest = window.after(seconds)
    if len(rest.samples):
        assert rest.spans[0].start == pytest.approx(window.file_start(seconds) * SAMPLE_RATE)
        assert rest.samples[0] == rest.spans[0].start
    assert rest.seconds == pytest.approx(
        min(max(window.seconds - seconds, 0), window.seconds), abs=1 / SAMPLE_RATE
    )


@given(drawn=DRAWN, one=st.floats(0, 40), other=st.floats(0, 40))
def test_times_never_change_their_order(
    drawn: list[tuple[int, int]], one: float, other: float
) -> None:
    window = window_of(drawn)
    early, late = sorted((one, other))
    assert window.file_start(early) <= window.file_start(late)
    assert window.file_end(early) <= window.file_end(late)
    if early < late - 1 / SAMPLE_RATE and early < window.seconds:
        assert window.file_start(early) <= window.file_end(late)


def test_a_transcripts_text_is_its_segments_without_the_space_around() -> None:
    def segment(text: str) -> Segment:
        return Segment(0, 0, 0, 1, text, (), 0.0, -0.1, 1.0, 0.0)

    segments = (segment(" Hello,"), segment(" world. "))
    assert Transcript(Task.TRANSCRIBE, "en", 1.0, segments).text == "Hello, world."
    assert Transcript(Task.TRANSCRIBE, "en", 1.0, ()).text == ""
