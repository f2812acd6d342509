"""Text that was made up where nobody speaks.

The rules are those of openai/whisper, transcribe.py, `hallucination_silence_threshold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_service.whisper.segments import TimedWord
from whisper_service.whisper.words import APPENDED, PREPENDED

_IMPROBABLE = 0.15
_SHORT, _SHORT_WEIGHT = 0.133, 15  # seconds, and what each second less counts
_LONG = 2.0  # seconds; each second more counts as one improbable word
_FIRST_WORDS = 8  # that a segment is judged by
_ANOMALOUS = 3.0
_NEAR = 2.0  # seconds from an end of the window within which silence is taken for granted


@dataclass(frozen=True)
class JudgedSegment:
    """`start` and `end` are seconds of the file, the silences in it included."""

    start: float
    end: float
    words: Sequence[TimedWord]


def is_anomalous(words: Sequence[TimedWord]) -> bool:
    """Whether the words are too improbable, too short or too long to have been spoken."""
    if not words:
        return False
    judged = [word for word in words if word.text not in PREPENDED + APPENDED][:_FIRST_WORDS]
    score = sum(map(_anomaly, judged))
    return score >= _ANOMALOUS or score + 0.01 >= len(judged)


def _anomaly(word: TimedWord) -> float:
    seconds = word.end - word.start
    score = 1.0 if word.probability < _IMPROBABLE else 0.0
    return score + max(0.0, (_SHORT - seconds) * _SHORT_WEIGHT) + max(0.0, seconds - _LONG)


def first_made_up(
    segments: Sequence[JudgedSegment], begin: float, end: float, silence: float
) -> int | None:
    """The first segment that is anomalous and has silence, or more of its kind, on both sides.

    Args:
        segments: of one window, in order.
        begin: of the window, in seconds of the file.
        end: of the window.
        silence: seconds from which on a silence counts.
    """
    spoken = [(index, each) for index, each in enumerate(segments) if each.words]
    last_end = begin
    for place, (index, segment) in enumerate(spoken):
        if is_anomalous(segment.words):
            following = spoken[place + 1][1] if place + 1 < len(spoken) else None
            silent_before = (
                segment.start - last_end > silence
                or segment.start < silence
                or segment.start - begin < _NEAR
            )
            next_start = following.start if following else end
            silent_after = (
                next_start - segment.end > silence
                or (following is not None and is_anomalous(following.words))
                or end - segment.end < _NEAR
            )
            if silent_before and silent_after:
                return index
        last_end = segment.end
    return None
