"""Recordings longer than a window: nothing is lost, nothing is said twice."""

from __future__ import annotations

import numpy as np
import pytest
from openai import OpenAI

from tests.conftest import Clip
from tests.integration.test_contract import wav
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples

ROUNDS = 4
SENTENCES = ("en/quick_brown_fox", "en/hello_world", "en/counting")
WORST_START = 0.3  # seconds; each clip begins with a little silence of its own


def samples_of(clip: Clip) -> Samples:
    with clip.path.open("rb") as file:
        return decode(file, DecodeLimits(max_seconds=30, timeout_seconds=30))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_every_sentence_of_a_long_recording_is_there_once_and_in_its_place(
    client: OpenAI, clips: dict[str, Clip], *, one_by_one: bool
) -> None:
    parts: list[Samples] = []
    starts: list[float] = []
    for index in range(ROUNDS):
        for name in SENTENCES:
            starts.append(sum(map(len, parts)) / SAMPLE_RATE)
            parts += [samples_of(clips[name]), np.zeros((1 + 2 * index) * SAMPLE_RATE, np.float32)]
    result = client.audio.transcriptions.create(
        model="whisper-1", file=("long.wav", wav(np.concatenate(parts))),
        response_format="verbose_json",
        extra_body={"condition_on_previous_text": one_by_one},
    )  # fmt: skip
    heard = result.text.casefold()
    assert [heard.count(word) for word in ("fox", "lazy dog", "hello world")] == [ROUNDS] * 3
    foxes = [each.start for each in result.segments or () if "fox" in each.text]
    assert np.abs(np.array(foxes) - starts[:: len(SENTENCES)]).max() < WORST_START
