"""Segments that go on across a silence, cut there.

Whisper now and then makes two sentences one segment, whatever lies between them. In a window from
which long silences were taken out that may be minutes, during which a caption would stand there
with what has not been said yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from whisper_service.whisper.segments import TimedTokens, TimedWord


def spans_a_pause(segment: TimedTokens, pauses: Sequence[float], margin: float) -> bool:
    """Whether the segment lasts for longer than `margin` seconds on both sides of one of them."""
    return any(segment.start + margin < pause < segment.end - margin for pause in pauses)


def cut_in_pauses(
    segment: TimedTokens, pauses: Sequence[float], end_of_text: int
) -> list[TimedTokens]:
    """The segment's parts between the pauses; each has the words whose middles are there.

    Together they have the segment's tokens, in their order, and its outer bounds; the last one ends
    with its words where those end later.

    Args:
        segment: with its words.
        pauses: seconds of the window, in order.
        end_of_text: the token from which on none is text.
    """
    parts = list(_words_between(segment.words or (), pauses))
    if len(parts) < 2:
        return [segment]
    tokens = iter(segment.tokens)
    cut = []
    for place, words in parts:
        start = max(words[0].start, pauses[place - 1]) if place else words[0].start
        end = min(words[-1].end, pauses[place]) if place < len(pauses) else words[-1].end
        own = tuple(_take(tokens, sum(word.tokens for word in words), end_of_text))
        cut.append(TimedTokens(start, max(start, end), own, words))
    first, last = cut[0], cut[-1]
    cut[0] = replace(first, start=min(segment.start, first.end))
    cut[-1] = replace(last, end=max(segment.end, last.end), tokens=(*last.tokens, *tokens))
    return cut


def where_the_words_are(segment: TimedTokens, pauses: Sequence[float]) -> TimedTokens:
    """The segment without the pauses that are before all of its words, or behind them."""
    words = segment.words
    if not words:
        return segment
    first, last = ((word.start + word.end) / 2 for word in (words[0], words[-1]))
    start = max([segment.start, *(pause for pause in pauses if pause <= first)])
    end = min([segment.end, *(pause for pause in pauses if pause > last)])
    return replace(segment, start=start, end=max(start, end))


def _words_between(
    words: Sequence[TimedWord], pauses: Sequence[float]
) -> Iterator[tuple[int, tuple[TimedWord, ...]]]:
    """Words that no pause parts, and how many pauses are before them."""
    place = 0

    def place_of(word: TimedWord) -> int:
        nonlocal place
        place = max(place, bisect_right(pauses, (word.start + word.end) / 2))
        return place

    for key, group in groupby(words, key=place_of):
        yield key, tuple(group)


def _take(tokens: Iterator[int], texts: int, end_of_text: int) -> Iterator[int]:
    """The tokens up to the last of so many that are text."""
    while texts:
        token = next(tokens)
        texts -= token < end_of_text
        yield token
