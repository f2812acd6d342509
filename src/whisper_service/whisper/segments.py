"""From a window's tokens to timed text (openai/whisper, transcribe.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_service.whisper.vocabulary import Vocabulary


@dataclass(frozen=True)
class TimedWord:
    """`start` and `end` are seconds of the window."""

    text: str  # with its spaces: the words of a segment are its text
    start: float
    end: float
    probability: float
    tokens: int = 1  # of text


@dataclass(frozen=True)
class TimedTokens:
    """`start` and `end` are seconds of the window; `tokens` include the timestamps."""

    start: float
    end: float
    tokens: tuple[int, ...]
    words: tuple[TimedWord, ...] | None = None  # None: not asked for


@dataclass(frozen=True)
class SegmentedWindow:
    """A window's text.

    covered: seconds of the window whose speech is in `segments`; the rest is to do again.
    closed: whether `covered` is certain; else the text ended without a timestamp of its own, or
        with one that begins another segment.
    """

    segments: tuple[TimedTokens, ...]
    covered: float
    closed: bool = True


def segment_window(
    tokens: Sequence[int], seconds: float, vocabulary: Vocabulary, *, to_the_end: bool = False
) -> SegmentedWindow:
    """Cuts a window's tokens where two timestamps stand side by side.

    Text that is left open after such a pair is not trusted: it is left out, and `covered` ends
    before it. A window without any pair is one segment and wholly covered.

    Args:
        tokens: text and timestamps as they were generated, without the end of text.
        seconds: of speech in the window; no time goes beyond.
        vocabulary: of the checkpoint.
        to_the_end: an open text is trusted to last until the window does.
    """
    is_timestamp = [vocabulary.is_timestamp(token) for token in tokens]
    ends_closed = len(tokens) >= 2 and is_timestamp[-1] and not is_timestamp[-2]
    cuts = [i for i in range(1, len(tokens)) if is_timestamp[i - 1] and is_timestamp[i]]
    if not cuts:
        whole = _whole(tokens, is_timestamp, seconds, vocabulary)
        return SegmentedWindow(whole, seconds, ends_closed)
    if ends_closed:
        cuts.append(len(tokens))
    segments = []
    for begin, end in zip([0, *cuts[:-1]], cuts, strict=True):
        part = tuple(tokens[begin:end])
        start = vocabulary.seconds(part[0]) if vocabulary.is_timestamp(part[0]) else 0.0
        segments.append(_clipped(start, vocabulary.seconds(part[-1]), part, seconds))
    if to_the_end:
        rest = tuple(tokens[cuts[-1] :])
        segments.extend(_whole(rest, is_timestamp[cuts[-1] :], seconds, vocabulary))
        return SegmentedWindow(tuple(segments), seconds)
    # Ends with a pair: what follows the pair is silence, or was cut off by the token limit.
    covered = seconds if ends_closed else segments[-1].end
    return SegmentedWindow(tuple(segments), covered, ends_closed)


def _whole(
    tokens: Sequence[int], is_timestamp: Sequence[bool], seconds: float, vocabulary: Vocabulary
) -> tuple[TimedTokens, ...]:
    if not any(not timestamp for timestamp in is_timestamp):
        return ()
    start = vocabulary.seconds(tokens[0]) if is_timestamp[0] else 0.0
    end = vocabulary.seconds(tokens[-1]) if is_timestamp[-1] else seconds
    return (_clipped(start, end, tuple(tokens), seconds),)


def _clipped(start: float, end: float, tokens: tuple[int, ...], seconds: float) -> TimedTokens:
    # The model places times on its grid of 0.02 s, also a little beyond the end of the speech.
    return TimedTokens(min(start, seconds), min(end, seconds), tokens)
