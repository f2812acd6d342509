"""Subtitles that are a pleasure to read, as SubRip (srt) or WebVTT (vtt)."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from whisper_service.domain import Segment, Word
from whisper_service.formats.line_breaks import is_visible, tidy
from whisper_service.formats.line_layout import Block, lay_out
from whisper_service.formats.sanitize import milliseconds

# Subtitle parsers take this for the line of a cue's times, some of them with spaces inside.
_TIME_ARROW = re.compile(r"-[- ]+>")

_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class SubtitleOptions:
    """How subtitles are laid out. The defaults are the usual guidelines for television."""

    max_line_chars: int = 42  # columns: an East Asian wide character takes two
    max_lines: int = 2  # in a cue
    min_seconds: float = 0.7  # a shorter cue stays on the screen so long, where there is time

    def __post_init__(self) -> None:
        if self.max_line_chars < 1 or self.max_lines < 1 or self.min_seconds < 0:
            raise ValueError(f"no subtitle can be laid out so: {self}")


@dataclass(frozen=True)
class Cue:
    """What is on the screen from `start` to `end`, whole milliseconds of the file."""

    start: int
    end: int
    lines: tuple[str, ...]


def make_cues(segments: Iterable[Segment], options: SubtitleOptions) -> list[Cue]:
    """Cues in the order of their times: each has text and takes time, and no two overlap.

    A segment with more text than a cue holds becomes several: they share its time by its words'
    times, or else in proportion to their lengths. A segment that overlaps the next one ends where
    that one starts.
    """
    laid_out: list[tuple[Segment, str, list[Block]]] = []
    for segment in sorted(segments, key=lambda segment: milliseconds(segment.start)):
        text = tidy(segment.text)
        blocks = lay_out(text, max_width=options.max_line_chars, max_lines=options.max_lines)
        if blocks:
            laid_out.append((segment, text, blocks))

    cues: list[Cue] = []
    shortest = milliseconds(options.min_seconds)
    free_from = 0
    for index, (segment, text, blocks) in enumerate(laid_out):
        start = max(milliseconds(segment.start), free_from)
        end = max(milliseconds(segment.end), start + shortest * len(blocks))
        if index + 1 < len(laid_out):
            end = min(end, milliseconds(laid_out[index + 1][0].start))
        end = max(end, start + len(blocks))  # at the very least a millisecond each
        if len(blocks) == 1:
            cues.append(Cue(start, end, blocks[0].lines))
        else:
            cues += _share(blocks, _clock(segment, text, start, end), start, end, shortest)
        free_from = end
    return cues


def to_srt(cues: Iterable[Cue]) -> str:
    """SubRip. It has no escapes, so a time arrow in the text becomes the arrow that it means."""
    return "\n".join(
        f"{number}\n{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}\n"
        + "".join(_TIME_ARROW.sub("→", line) + "\n" for line in cue.lines)
        for number, cue in enumerate(cues, start=1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT, https://www.w3.org/TR/webvtt1/."""
    return "WEBVTT\n" + "".join(
        f"\n{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n"
        + "".join(line.translate(_VTT_ESCAPES) + "\n" for line in cue.lines)
        for cue in cues
    )


def _timestamp(total: int, point: str) -> str:
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, fraction = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{fraction:03}"


class _Clock(Protocol):
    """When a segment's text is spoken, in milliseconds, by offsets into the text."""

    def start_of(self, offset: int) -> int: ...

    def end_of(self, offset: int) -> int: ...


def _clock(segment: Segment, text: str, start: int, end: int) -> _Clock:
    # Counted in visible characters, for the words' spaces are not the tidy text's.
    seen = [0, *accumulate(map(is_visible, text))]
    if segment.words:
        visible_words = ["".join(filter(is_visible, word.word)) for word in segment.words]
        if "".join(visible_words) == "".join(filter(is_visible, text)):
            return _WordClock(seen, segment.words, list(map(len, visible_words)))
    return _EvenClock(seen, start, end)


@dataclass(frozen=True)
class _EvenClock:
    """As if every character took the same time."""

    seen: Sequence[int]  # visible characters before each offset
    start: int
    end: int

    def start_of(self, offset: int) -> int:
        return self.start + round((self.end - self.start) * self.seen[offset] / self.seen[-1])

    end_of = start_of


class _WordClock:
    """By the words' times; inside a word, as if every character took the same time."""

    def __init__(self, seen: Sequence[int], words: Sequence[Word], lengths: Sequence[int]) -> None:
        self._seen = seen
        self._words = words
        self._bounds = [0, *accumulate(lengths)]  # visible characters before each word

    def start_of(self, offset: int) -> int:
        position = self._seen[offset]
        return self._time(bisect_right(self._bounds, position) - 1, position)

    def end_of(self, offset: int) -> int:
        position = self._seen[offset]
        return self._time(bisect_left(self._bounds, position) - 1, position)

    def _time(self, index: int, position: int) -> int:
        first, last = self._bounds[index], self._bounds[index + 1]
        start, end = milliseconds(self._words[index].start), milliseconds(self._words[index].end)
        return start + round((end - start) * (position - first) / (last - first))


def _share(
    blocks: Sequence[Block], clock: _Clock, start: int, end: int, shortest: int
) -> list[Cue]:
    """The blocks' cues, inside [start, end), whatever the clock says."""
    cues: list[Cue] = []
    for index, block in enumerate(blocks):
        left = len(blocks) - index - 1  # cues that still need a millisecond each
        if left:
            next_start = _clamp(clock.start_of(blocks[index + 1].start), start + 1, end - left)
            cue_end = _clamp(clock.end_of(block.end), start + 1, next_start)
            cue_end = max(cue_end, min(start + shortest, next_start))
        else:
            next_start = cue_end = end
        cues.append(Cue(start, cue_end, block.lines))
        start = next_start
    return cues


def _clamp(value: int, lowest: int, highest: int) -> int:
    return min(max(value, lowest), highest)
