"""Segments that take too long for one subtitle are cut where that hurts least."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from whisper_service.domain import Segment, Word

# What a place is worth, in seconds of the pause that would be worth as much.
_SENTENCE_END, _CLAUSE_END = 1.5, 0.7
_UNEVENNESS = 1.0  # of the two halves: one is nothing and the other all
_SENTENCE_ENDS = tuple(".!?…。！？｡")
_CLAUSE_ENDS = tuple(",;:，；：、،")
_WRITTEN_WORD = re.compile(r"\s*\S+")


def cut_long(segments: Iterable[Segment], seconds: float | None) -> Iterator[Segment]:
    """The segments, none longer than so many seconds but where a single word is.

    A segment without words' times is taken to have words as long as they are written.
    """
    for segment in segments:
        if seconds is None or segment.end - segment.start <= seconds:
            yield segment
        else:
            yield from _halved(segment, segment.words or _spread(segment), seconds)


def _halved(segment: Segment, words: Sequence[Word], seconds: float) -> Iterator[Segment]:
    if segment.end - segment.start <= seconds or len(words) < 2:
        # What is held for a long pause is not held for longer than was asked for.
        yield replace(segment, end=min(segment.end, max(segment.start + seconds, words[-1].end)))
        return
    cut = max(range(1, len(words)), key=lambda index: _worth(segment, words, index))
    for part, start, end in (
        (words[:cut], segment.start, words[cut - 1].end),
        (words[cut:], words[cut].start, segment.end),
    ):
        text = "".join(word.word for word in part)
        kept = tuple(part) if segment.words is not None else None
        half = replace(segment, start=start, end=max(start, end), text=text, words=kept)
        yield from _halved(half, part, seconds)


def _worth(segment: Segment, words: Sequence[Word], index: int) -> float:
    """How good a place for a cut is before this word."""
    before, after = words[index - 1], words[index]
    text = before.word.rstrip()
    mark = (
        _SENTENCE_END
        if text.endswith(_SENTENCE_ENDS)
        else _CLAUSE_END
        if text.endswith(_CLAUSE_ENDS)
        else 0.0
    )
    middle = (before.end + after.start) / 2 - segment.start
    share = middle / (segment.end - segment.start)
    return after.start - before.end + mark - _UNEVENNESS * abs(2 * share - 1)


def _spread(segment: Segment) -> list[Word]:
    """Words as if every character took the same time."""
    texts = _WRITTEN_WORD.findall(segment.text) or [segment.text]
    length = (segment.end - segment.start) / max(1, sum(map(len, texts)))
    words, seen = [], 0
    for text in texts:
        start = segment.start + seen * length
        seen += len(text)
        words.append(Word(text, start, segment.start + seen * length, 0.0))
    return words
