from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_service.domain import QualityOptions
from whisper_service.whisper.quality import (
    Doubt,
    Measures,
    best,
    compression_ratio,
    doubt,
    is_silence,
)

OPTIONS = QualityOptions()  # 2.4, -1.0, 0.6


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        (Measures(-0.3, 1.5, 0.01), None),
        (Measures(-0.3, 2.4, 0.01), None),
        (Measures(-0.3, 2.41, 0.01), Doubt.REPETITIVE),
        (Measures(-1.0, 1.5, 0.01), None),
        (Measures(-1.01, 1.5, 0.01), Doubt.UNLIKELY),
        (Measures(-1.01, 2.5, 0.01), Doubt.REPETITIVE),
        (Measures(-0.1, 1.1, 0.01, looped=True), Doubt.REPETITIVE),
        # Silence is not tried again, whatever its text looks like.
        (Measures(-1.5, 9.9, 0.61), None),
        (Measures(-1.5, 9.9, 0.60), Doubt.REPETITIVE),
        # Sure text is not silence.
        (Measures(-0.5, 2.5, 0.99), Doubt.REPETITIVE),
    ],
)
def test_a_text_is_tried_again_for_the_references_reasons(
    measures: Measures, reason: Doubt | None
) -> None:
    assert doubt(measures, OPTIONS) is reason


@pytest.mark.parametrize(
    ("no_speech", "logprob", "silent"),
    [(0.61, -1.01, True), (0.61, -1.0, True), (0.61, -0.99, False), (0.6, -5.0, False)],
)
def test_silence_needs_both_no_speech_and_an_unlikely_text(
    no_speech: float, logprob: float, silent: bool
) -> None:
    assert is_silence(Measures(logprob, 1.0, no_speech), OPTIONS) is silent


@given(
    avg_logprob=st.floats(-5, 0),
    ratio=st.floats(0.1, 10),
    no_speech=st.floats(0, 1),
    looped=st.booleans(),
)
def test_thresholds_that_nothing_can_pass_turn_every_guard_off(
    avg_logprob: float, ratio: float, no_speech: float, looped: bool
) -> None:
    open_wide = QualityOptions(float("inf"), float("-inf"), 1.0)
    reason = doubt(Measures(avg_logprob, ratio, no_speech, looped), open_wide)
    assert reason is (Doubt.REPETITIVE if looped else None)


def test_the_ratio_is_of_bytes_to_compressed_bytes() -> None:
    text = "Grüße aus Köln"
    assert compression_ratio(text) == len(text.encode()) / len(zlib.compress(text.encode()))
    assert compression_ratio("no " * 100) > 2.4
    assert compression_ratio("The birch canoe slid on the smooth planks.") < 2.4
    assert compression_ratio("") == 0


def test_of_doubted_tries_the_likeliest_without_a_loop_is_kept() -> None:
    loop = Measures(-0.1, 9.0, 0.0)
    ended_loop = Measures(-0.05, 1.0, 0.0, looped=True)
    unlikely, likelier = Measures(-3.0, 1.2, 0.0), Measures(-1.2, 1.3, 0.0)
    assert best([loop, unlikely, ended_loop, likelier], OPTIONS) == 3
    assert best([loop, ended_loop], OPTIONS) == 1
    assert best([unlikely, unlikely], OPTIONS) == 0
