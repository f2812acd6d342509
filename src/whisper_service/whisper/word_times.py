"""When each word of a window is spoken (openai/whisper, timing.py).

Pure functions. The reference's two corrections are kept: words at the ends of sentences and after
pauses are not longer than twice the median, and a segment's bounds follow its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median

from whisper_service.whisper.segments import TimedTokens, TimedWord
from whisper_service.whisper.words import TokenizedWord, merge_punctuation

SHORTEST_WORD = 0.02  # seconds: a frame of the encoder
_SENTENCE_ENDS = ".。!！?？"
_LONGEST_MEDIAN = 0.7  # seconds
_TOO_EARLY = 0.5  # seconds that a word may begin before its segment, or end after it
_AFTER_PAUSE = 4  # median words


@dataclass(frozen=True)
class SpokenText:
    """A segment's words before they have times, and the probabilities of all their tokens."""

    words: Sequence[TokenizedWord]
    probabilities: Sequence[float]


def time_words(
    segments: Sequence[TimedTokens],
    texts: Sequence[SpokenText],
    boundaries: Sequence[float],
) -> list[TimedTokens]:
    """The segments with their words' times.

    Args:
        segments: of one window, in order.
        texts: of each segment.
        boundaries: seconds of the window at which each text token of all segments begins, and the
            last one ends.
    """
    timings = [list(each) for each in _spread(texts, boundaries)]
    # The same objects in one list: a sentence may end with a segment.
    typical = _clip_sentence_ends([word for words in timings for word in words])
    timed = []
    last_speech = 0.0
    for segment, words in zip(segments, timings, strict=True):
        merged = _merged(words)
        if not merged:
            timed.append(replace(segment, words=()))
            continue
        _clip_after_pause(merged, last_speech, typical)
        last_speech = _fit(segment, merged, typical)
        start, end = merged[0].start, merged[-1].end
        timed.append(replace(segment, start=start, end=max(start, end), words=_fixed(merged)))
    return timed


def estimate_words(segment: TimedTokens, text: SpokenText) -> TimedTokens:
    """The segment with its words spread over its time by their lengths: where nothing is known."""
    total = sum(len(word.text) for word in text.words) or 1
    words, seen, token = [], 0, 0
    span = segment.end - segment.start
    for word in text.words:
        start = segment.start + span * seen / total
        seen += len(word.text)
        end = segment.start + span * seen / total
        words.append(_Timing(word.text, start, end, _mean(text, token, word), word.tokens))
        token += word.tokens
    return replace(segment, words=_fixed(_merged(words)))


def in_order(times: Sequence[tuple[float, float]], earliest: float) -> list[tuple[float, float]]:
    """The times, changed as little as need be for none to be of no length or to overlap.

    Where several words share one moment, they are given a little time each, if need be of the
    words after them.

    Args:
        times: start and end, in seconds; the starts should be in order.
        earliest: before which nothing may start.
    """
    ordered: list[tuple[float, float]] = []
    for start, end in times:
        start = max(start, earliest)
        earliest = max(end, start + SHORTEST_WORD)
        ordered.append((start, earliest))
    return ordered


@dataclass
class _Timing:
    text: str
    start: float
    end: float
    probability: float
    tokens: int

    @property
    def seconds(self) -> float:
        return self.end - self.start


def _spread(texts: Sequence[SpokenText], boundaries: Sequence[float]) -> Iterator[list[_Timing]]:
    position = 0
    for text in texts:
        words, token = [], 0
        for word in text.words:
            start, end = boundaries[position], boundaries[position + word.tokens]
            words.append(_Timing(word.text, start, end, _mean(text, token, word), word.tokens))
            token += word.tokens
            position += word.tokens
        yield words


def _mean(text: SpokenText, token: int, word: TokenizedWord) -> float:
    return fmean(text.probabilities[token : token + word.tokens])


def _clip_sentence_ends(words: Sequence[_Timing]) -> float:
    """Shortens what is too long beside a full stop. Returns the median word's length."""
    lengths = [word.seconds for word in words if word.seconds]
    typical = min(_LONGEST_MEDIAN, median(lengths)) if lengths else 0.0
    for before, word in pairwise(words):
        if typical and word.seconds > 2 * typical:
            if word.text in _SENTENCE_ENDS:
                word.end = word.start + 2 * typical
            elif before.text in _SENTENCE_ENDS:
                word.start = word.end - 2 * typical
    return typical


def _merged(words: Sequence[_Timing]) -> list[_Timing]:
    """The words with their punctuation, whose own time and probability do not count."""
    merged = []
    for group in merge_punctuation([word.text for word in words]):
        core, together = words[group.core], words[group.first : group.last]
        text = "".join(each.text for each in together)
        tokens = sum(each.tokens for each in together)
        merged.append(_Timing(text, core.start, core.end, core.probability, tokens))
    return merged


def _fixed(words: Sequence[_Timing]) -> tuple[TimedWord, ...]:
    return tuple(TimedWord(w.text, w.start, w.end, w.probability, w.tokens) for w in words)


def _fit(segment: TimedTokens, words: Sequence[_Timing], typical: float) -> float:
    """Fits the outer words to their segment. Returns when its speech ends."""
    first, last = words[0], words[-1]
    if segment.start < first.end and segment.start - _TOO_EARLY > first.start:
        first.start = max(0.0, min(first.end - typical, segment.start))
    if segment.end > last.start and segment.end + _TOO_EARLY < last.end:
        last.end = max(last.start + typical, segment.end)
        return segment.end
    return last.end


def _clip_after_pause(words: Sequence[_Timing], last_speech: float, typical: float) -> None:
    """The first two words after a pause are not longer than twice the median each."""
    first, second = words[0], words[1] if len(words) > 1 else None
    longest = 2 * typical
    if first.end - last_speech <= _AFTER_PAUSE * typical:
        return
    together = second is not None and second.end - first.start > 2 * longest
    if first.seconds > longest or together:
        if second is not None and second.seconds > longest:
            first.end = second.start = max(second.end / 2, second.end - longest)
        first.start = max(0.0, first.end - longest)
