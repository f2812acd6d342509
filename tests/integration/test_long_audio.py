"""Recordings longer than a window: nothing is lost, nothing is said twice."""

from __future__ import annotations

import re

import numpy as np
import pytest
from openai import OpenAI

from tests.conftest import Clip
from tests.integration.test_contract import wav
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples

FOX = "the quick brown fox jumps over the lazy dog"


def samples_of(clip: Clip) -> Samples:
    with clip.path.open("rb") as file:
        return decode(file, DecodeLimits(max_seconds=30, timeout_seconds=30))


@pytest.fixture(scope="module")
def recording(clips: dict[str, Clip]) -> tuple[bytes, list[tuple[float, str]]]:
    """84 s: the fox twelve times, with silences of 1 to 9 s, and where each time begins."""
    fox = samples_of(clips["en/quick_brown_fox"])
    parts, starts = [], []
    for index in range(12):
        starts.append((sum(map(len, parts)) / SAMPLE_RATE, "fox"))
        parts += [fox, np.zeros((1 + index * 3 % 9) * SAMPLE_RATE, np.float32)]
    return wav(np.concatenate(parts)), starts


@pytest.mark.parametrize("one_by_one", [False, True])
def test_every_sentence_of_a_long_recording_is_there_once(
    client: OpenAI, recording: tuple[bytes, list[tuple[float, str]]], *, one_by_one: bool
) -> None:
    audio, starts = recording
    result = client.audio.transcriptions.create(
        model="whisper-1",
        file=("long.wav", audio),
        response_format="verbose_json",
        extra_body={"condition_on_previous_text": one_by_one},
    )
    words = re.findall(r"[a-z]+", result.text.casefold())
    assert words == ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"] * len(
        starts
    )
    found = [segment.start for segment in result.segments or ()]
    assert found == sorted(found)
    assert abs(found[0] - starts[0][0]) < 0.5
