from __future__ import annotations

import pytest

from whisper_service.engine.requests import DecodingRequest, LanguageEvidence
from whisper_service.service.language_vote import vote

from .scripted_engine import (
    DE,
    EN,
    FR,
    ScriptedEngine,
    decoder_for,
    said,
    start_of,
    windows_at,
)


def evidence(
    english: float, german: float, french: float, no_speech: float = 0.0
) -> LanguageEvidence:
    return LanguageEvidence({EN: english, DE: german, FR: french}, no_speech)


async def decide(*ballots: LanguageEvidence, threshold: float = 0.5) -> tuple[int, int]:
    """The language, and how many windows were asked."""

    def hears(request: DecodingRequest) -> LanguageEvidence:
        return ballots[round(start_of(request) / 30)]

    engine = ScriptedEngine(lambda _: said(), hears)
    windows = windows_at(*(30.0 * index for index in range(len(ballots))))
    return await vote(decoder_for(engine), windows, threshold), len(engine.heard)


async def test_the_first_window_that_is_sure_decides() -> None:
    language, _ = await decide(
        evidence(0.4, 0.3, 0.3), evidence(0.1, 0.1, 0.8), evidence(0.0, 1.0, 0.0)
    )
    assert language == FR


async def test_when_none_is_sure_the_evidence_of_all_is_summed() -> None:
    language, _ = await decide(
        evidence(0.40, 0.35, 0.25), evidence(0.40, 0.35, 0.25), evidence(0.10, 0.45, 0.45)
    )
    assert language == DE


async def test_music_that_is_sure_of_its_language_does_not_decide() -> None:
    language, _ = await decide(
        evidence(0.99, 0.0, 0.01, no_speech=0.9), evidence(0.1, 0.8, 0.1, no_speech=0.1)
    )
    assert language == DE


async def test_a_window_counts_as_much_as_it_is_speech() -> None:
    language, _ = await decide(
        evidence(0.9, 0.05, 0.05, no_speech=0.95),
        evidence(0.25, 0.45, 0.30, no_speech=0.1),
        evidence(0.30, 0.40, 0.30, no_speech=0.1),
    )
    assert language == DE


async def test_a_recording_without_any_speech_gets_some_language() -> None:
    language, _ = await decide(
        evidence(0.4, 0.3, 0.3, no_speech=1.0), evidence(0.3, 0.3, 0.4, no_speech=1.0)
    )
    assert language in {EN, DE, FR}


@pytest.mark.parametrize(("windows", "asked"), [(1, 1), (4, 4), (20, 4)])
async def test_of_a_long_file_only_the_first_windows_are_asked(windows: int, asked: int) -> None:
    _, heard = await decide(*[evidence(0.4, 0.3, 0.3)] * windows)
    assert heard == asked


async def test_the_threshold_is_what_a_sure_window_reaches() -> None:
    ballots = evidence(0.5, 0.3, 0.2), evidence(0.0, 0.5, 0.5)
    assert (await decide(*ballots, threshold=0.5))[0] == EN
    assert (await decide(*ballots, threshold=0.51))[0] == DE
