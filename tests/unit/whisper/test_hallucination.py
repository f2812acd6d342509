from __future__ import annotations

import pytest

from whisper_service.whisper.hallucination import JudgedSegment, first_made_up, is_anomalous
from whisper_service.whisper.segments import TimedWord


def word(probability: float = 0.9, seconds: float = 0.3, text: str = " so") -> TimedWord:
    return TimedWord(text, 1.0, 1.0 + seconds, probability)


@pytest.mark.parametrize(
    ("words", "anomalous"),
    [
        ([], False),
        ([word()], False),
        ([word(0.1)], True),  # all of it is improbable
        ([word(0.1), word()], False),
        ([word(0.1)] * 3 + [word()] * 9, True),
        ([word()] * 8 + [word(0.1)] * 9, False),  # only the first eight are looked at
        ([word(seconds=0.02)] * 2 + [word()] * 3, True),
        ([word(seconds=5.1), word(), word(), word()], True),
        ([word(seconds=2.5), word(), word(), word()], False),
        ([word(0.1, text=","), word()], False),  # punctuation is no word
    ],
)
def test_a_segment_is_judged_by_its_first_words(words: list[TimedWord], anomalous: bool) -> None:
    assert is_anomalous(words) is anomalous


SURE, DOUBTFUL = [word()], [word(0.05)]


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ([(10, 12, SURE), (12, 14, SURE)], None),
        ([(10, 12, SURE), (17, 18, DOUBTFUL), (21, 22, SURE)], 1),  # silence on both sides
        ([(10, 12, SURE), (12.5, 18, DOUBTFUL), (21, 22, SURE)], None),  # not before it
        ([(10, 12, SURE), (17, 20, DOUBTFUL), (20.5, 22, SURE)], None),  # nor after it
        ([(10, 12, SURE), (17, 20, DOUBTFUL), (20.5, 22, DOUBTFUL)], 1),  # but for another one
        ([(10, 11, DOUBTFUL), (20, 22, SURE)], 0),  # at the window's beginning
        ([(10, 20, SURE), (24, 29, DOUBTFUL)], 1),  # and at its end
        ([(10, 20, SURE), (22, 23, []), (24, 29, DOUBTFUL)], 2),  # what has no words is no speech
        ([], None),
    ],
)
def test_doubtful_text_among_silence_is_found(
    segments: list[tuple[float, float, list[TimedWord]]], found: int | None
) -> None:
    judged = [JudgedSegment(*segment) for segment in segments]
    assert first_made_up(judged, begin=10, end=30, silence=2.0) == found
