"""From spans of speech to the windows of at most 30 s that the encoder sees.

Pure functions. A window is as full as can be, since the encoder's work is the same for 1 s as for
30 s; and it ends in a silence, since a word that is cut in two is lost on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from whisper_service.domain import SAMPLE_RATE, WINDOW_SAMPLES, Samples, Span, Window

# A silence up to this long between two spans stays as it is, and a longer one is shortened to it:
# enough for Whisper to see a pause there, and to end a segment at it.
SILENCE_SAMPLES = 1 * SAMPLE_RATE

# From here on a window may end early where that is in a longer silence.
_FULL_SAMPLES = 24 * SAMPLE_RATE
_EARLIEST_CUT_SAMPLES = 20 * SAMPLE_RATE  # where the search for a quiet place begins
_SHORTEST_REST_SAMPLES = SAMPLE_RATE  # no cut leaves less than this behind
_HOP_SAMPLES = SAMPLE_RATE // 100  # loudness is looked at every 10 ms,
_QUIET_HOPS = 20  # over 200 ms: about the pause between two phrases
_AS_QUIET = 2.0  # power ratio (3 dB) within which a later place is as good as the quietest


def pack(samples: Samples, spans: Iterable[Span]) -> list[Window]:
    """Windows that hold what is in `spans`, and the silences between them, shortened."""
    return [take(samples, group) for group in plan(samples, spans)]


def split_quietly(samples: Samples) -> list[Window]:
    """Windows that hold all of `samples`, one after the other, cut at quiet places."""
    return pack(samples, [Span(0, len(samples))] if len(samples) else [])


def take(samples: Samples, spans: tuple[Span, ...]) -> Window:
    """One window: a view of `samples` where it is one span, a copy where it is several."""
    parts = [samples[span.start : span.end] for span in spans]
    return Window(parts[0] if len(parts) == 1 else np.concatenate(parts), spans)


def plan(samples: Samples, spans: Iterable[Span]) -> list[tuple[Span, ...]]:
    """Which spans of the recording each window consists of; what `pack` is made of.

    Holds no samples, so that a long recording's windows can be taken one by one.
    """
    groups: list[tuple[Span, ...]] = []
    waiting: list[Span] = []
    for piece in _pieces(samples, spans):
        if waiting and _length([*waiting, piece]) > WINDOW_SAMPLES:
            count = _best_end(waiting, piece)
            groups.append(_merged(waiting[:count]))
            del waiting[:count]
        waiting.append(piece)
    if waiting:
        groups.append(_merged(waiting))
    return groups


def _best_end(waiting: Sequence[Span], following: Span) -> int:
    """How many of the spans that are `waiting` the window takes before it ends.

    All of them would fill it best. Yet where it is nearly full, a longer silence is a better end:
    there a sentence ends, too.
    """
    silences = [b.start - a.end for a, b in zip(waiting, [*waiting[1:], following], strict=True)]
    ends = [
        count
        for count in range(1, len(waiting))
        if _length(waiting[:count]) >= _FULL_SAMPLES
        and _length([*waiting[count:], following]) <= WINDOW_SAMPLES
    ]
    return max([*ends, len(waiting)], key=lambda count: (silences[count - 1], count))


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The spans with the silences between them, which belong to the rhythm of speech."""
    merged = [spans[0]]
    for span in spans[1:]:
        last = merged[-1]
        if span.start - last.end <= SILENCE_SAMPLES:
            merged[-1] = Span(last.start, span.end)
        else:
            half = SILENCE_SAMPLES // 2
            merged[-1] = Span(last.start, last.end + half)
            merged.append(Span(span.start - half, span.end))
    return tuple(merged)


def _length(spans: Sequence[Span]) -> int:
    return sum(len(span) for span in _merged(spans))


def _pieces(samples: Samples, spans: Iterable[Span]) -> Iterator[Span]:
    """The spans, those that no window can hold cut where they are quietest."""
    for span in spans:
        start = span.start
        while span.end - start > WINDOW_SAMPLES:
            latest = min(start + WINDOW_SAMPLES, span.end - _SHORTEST_REST_SAMPLES)
            end = quietest(samples, start + _EARLIEST_CUT_SAMPLES, latest)
            yield Span(start, end)
            start = end
        yield Span(start, span.end)


def quietest(samples: Samples, first: int, last: int) -> int:
    """The last of the quietest places in [first, last], in samples."""
    hops = (last - first) // _HOP_SAMPLES
    power = np.square(samples[first : first + hops * _HOP_SAMPLES], dtype=np.float64)
    loudness = np.convolve(
        power.reshape(hops, _HOP_SAMPLES).sum(axis=1), np.ones(_QUIET_HOPS), mode="valid"
    )
    quiet = np.flatnonzero(loudness <= _AS_QUIET * loudness.min())
    return first + (int(quiet[-1]) + _QUIET_HOPS // 2) * _HOP_SAMPLES
