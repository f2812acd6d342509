"""Subtitles that are a pleasure to read, as SubRip (srt) or WebVTT (vtt)."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Protocol

from whisper_service.domain import Segment, Word
from whisper_service.formats.line_breaks import SEPARATORS, is_visible, tidy
from whisper_service.formats.line_layout import Block, lay_out
from whisper_service.formats.long_segments import cut_long
from whisper_service.formats.sanitize import milliseconds
from whisper_service.whisper.characters import continues

# Subtitle parsers take this for the line of a cue's times, some of them with spaces inside.
_TIME_ARROW = re.compile(r"-[- ]+>")

_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class SubtitleOptions:
    """How subtitles are laid out. The defaults are the usual guidelines for television."""

    max_line_chars: int = 42  # columns: an East Asian wide character takes two
    max_lines: int = 2  # in a cue
    min_seconds: float = 0.7  # a shorter cue stays on the screen so long, where there is time
    max_seconds: float | None = None  # a longer cue is cut in a pause; None: none is
    words: bool = False  # whether cues tell when each word is spoken

    def __post_init__(self) -> None:
        wrong = self.max_line_chars < 1 or self.max_lines < 1 or self.min_seconds < 0
        if wrong or (self.max_seconds is not None and self.max_seconds <= 0):
            raise ValueError(f"no subtitle can be laid out so: {self}")


@dataclass(frozen=True)
class CueWord:
    """A word's time, in milliseconds, and its visible characters [first, last) in its cue."""

    start: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class Cue:
    """What is on the screen from `start` to `end`, whole milliseconds of the file."""

    start: int
    end: int
    lines: tuple[str, ...]
    words: tuple[CueWord, ...] = ()  # in order, none overlapping; empty: it is shown as a whole


def make_cues(
    segments: Iterable[Segment], options: SubtitleOptions, duration: float | None = None
) -> list[Cue]:
    """Cues in the order of their times: each has text and takes time, and no two overlap.

    A segment with more text than a cue holds becomes several: they share its time by its words'
    times, or else in proportion to their lengths. A segment that overlaps the next one ends where
    that one starts. No cue stays for more than `options.min_seconds` behind what it says.

    Args:
        segments: in any order.
        options: the layout.
        duration: seconds of the file, behind which no cue ends; None: unknown.
    """
    laid_out: list[tuple[Segment, str, list[Block]]] = []
    in_order = sorted(segments, key=lambda segment: milliseconds(segment.start))
    whole = map(_with_whole_characters, in_order)
    for segment in cut_long(whole, options.max_seconds):
        text = tidy(segment.text)
        blocks = lay_out(text, max_width=options.max_line_chars, max_lines=options.max_lines)
        if blocks:
            laid_out.append((segment, text, blocks))

    cues: list[Cue] = []
    shortest = milliseconds(options.min_seconds)
    latest = None if duration is None else milliseconds(duration)
    free_from = 0
    for index, (segment, text, blocks) in enumerate(laid_out):
        start = max(_start_of(segment, len(blocks), latest), free_from)
        spoken_until = max(milliseconds(segment.end), start + len(blocks))
        clock = _clock(segment, text, start, spoken_until)
        last_begins = min(clock.start_of(blocks[-1].start), spoken_until)
        end = max(spoken_until, last_begins + shortest)
        bounds = [milliseconds(each[0].start) for each in laid_out[index + 1 : index + 2]]
        bounds += [] if latest is None else [latest]
        end = max(min([end, *bounds]), start + len(blocks))  # a millisecond each at the very least
        if len(blocks) == 1:
            parts = [Cue(start, end, blocks[0].lines)]
        else:
            parts = _share(blocks, clock, start, end, shortest)
        if options.words and isinstance(clock, _WordClock):
            parts = [clock.with_words(*each) for each in zip(parts, blocks, strict=True)]
        cues += parts
        free_from = end
    return cues


def _start_of(segment: Segment, cues: int, latest: int | None) -> int:
    """When the segment's cues begin: so early that each has a millisecond before the file ends."""
    start = milliseconds(segment.start)
    return start if latest is None else max(min(start, latest - cues), 0)


def _with_whole_characters(segment: Segment) -> Segment:
    """The segment, none of whose words begins inside a character: with a combining mark, say."""
    words: list[Word] = []
    for word in segment.words or ():
        if words and continues(words[-1].word, word.word):
            last = words.pop()
            text, end = last.word + word.word, max(last.end, word.end)
            words.append(replace(last, word=text, end=end))
        else:
            words.append(word)
    return segment if segment.words is None else replace(segment, words=tuple(words))


def to_srt(cues: Iterable[Cue]) -> str:
    """SubRip. It has no escapes, so a time arrow in the text becomes the arrow that it means."""
    shown = (part for cue in cues for part in _highlights(cue))
    return "\n".join(
        f"{number}\n{_timestamp(start, ',')} --> {_timestamp(end, ',')}\n"
        + "".join(line + "\n" for line in lines)
        for number, (start, end, lines) in enumerate(shown, start=1)
    )


def _highlights(cue: Cue) -> Iterator[tuple[int, int, list[str]]]:
    """The cue, or one for each of its words and for each pause between them.

    As openai/whisper, utils.py, writes it with --highlight_words: the word that is spoken is
    underlined.
    """
    plain = [_TIME_ARROW.sub("→", line) for line in cue.lines]
    last = cue.start
    for word in cue.words:
        if word.start > last:
            yield last, word.start, plain
        lines = mark(cue.lines, word, "<u>", "</u>")
        yield word.start, word.end, [_TIME_ARROW.sub("→", line) for line in lines]
        last = word.end
    if last < cue.end:
        yield last, cue.end, plain


def to_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT, https://www.w3.org/TR/webvtt1/."""
    return "WEBVTT\n" + "".join(
        f"\n{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n"
        + "".join(line + "\n" for line in _karaoke(cue))
        for cue in cues
    )


def _karaoke(cue: Cue) -> list[str]:
    """The cue's lines, each word with a tag of its time, in which they are to be highlighted.

    A word that begins with its cue needs none, and WebVTT allows none.
    """
    tags = {
        word.first: f"<{_timestamp(word.start, '.')}>"
        for word in cue.words
        if cue.start < word.start < cue.end
    }
    lines, seen = [], 0
    for line in cue.lines:
        written = ""
        for character in line:
            if is_visible(character):
                written += tags.get(seen, "")
                seen += 1
            written += character.translate(_VTT_ESCAPES)
        lines.append(written)
    return lines


def mark(lines: Sequence[str], word: CueWord, before: str, after: str) -> list[str]:
    """The lines with a word between two marks, on each line that it is on."""
    marked, seen = [], 0
    for line in lines:
        places = [index for index, character in enumerate(line) if is_visible(character)]
        mine = places[max(word.first - seen, 0) : max(word.last - seen, 0)]
        if mine:
            first, last = mine[0], mine[-1] + 1
            while last < len(line) and not is_visible(line[last]) and line[last] not in SEPARATORS:
                last += 1  # a joiner or a variation selector belongs to the character before it
            line = f"{line[:first]}{before}{line[first:last]}{after}{line[last:]}"
        marked.append(line)
        seen += len(places)
    return marked


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

    def with_words(self, cue: Cue, block: Block) -> Cue:
        """The cue with the words of its block, inside its time."""
        lowest, highest = self._seen[block.start], self._seen[block.end]
        words: list[CueWord] = []
        free_from = cue.start
        for word, bounds in zip(self._words, pairwise(self._bounds), strict=True):
            first, last = max(bounds[0], lowest), min(bounds[1], highest)
            start = min(max(milliseconds(word.start), free_from), cue.end)
            end = min(max(milliseconds(word.end), start), cue.end)
            if first < last and start < end:
                words.append(CueWord(start, end, first - lowest, last - lowest))
                free_from = end
        return replace(cue, words=tuple(words))

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
