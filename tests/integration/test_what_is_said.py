"""Prompts, repetitions and pauses: what is said is in the text, and nothing else is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from openai import OpenAI
from openai.types.audio import TranscriptionVerbose

from tests.conftest import Clip
from tests.integration.test_contract import wav
from tests.integration.test_long_audio import samples_of
from whisper_service.domain import SAMPLE_RATE, Samples

FOX, WORLD, COUNT = "en/quick_brown_fox", "en/hello_world", "en/counting"
KEYS = {FOX: "lazy dog", WORLD: "hello world", COUNT: "10"}  # what each clip's text has


def silence(seconds: float, noise: float = 0.0) -> Samples:
    rng = np.random.default_rng(round(seconds * 1000))
    return rng.normal(0, noise, round(seconds * SAMPLE_RATE)).astype(np.float32)


def transcribe(client: OpenAI, *parts: Samples, **fields: Any) -> TranscriptionVerbose:
    ours = {name: fields.pop(name) for name in ("vad_filter",) if name in fields}
    result: TranscriptionVerbose = client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", wav(np.concatenate(parts))),
        response_format="verbose_json", extra_body=ours, **fields,
    )  # fmt: skip
    return result


class TestWithoutVoiceDetection:
    """What the reference's seeking finds, and what lies behind the end of Whisper's text."""

    @pytest.mark.parametrize("pause", [0.5, 3.0, 10.0])
    @pytest.mark.parametrize("pair", [(FOX, WORLD), (WORLD, FOX), (WORLD, COUNT)])
    def test_both_of_two_sentences_are_there(
        self, client: OpenAI, clips: dict[str, Clip], pair: tuple[str, str], pause: float
    ) -> None:
        first, second = (samples_of(clips[name]) for name in pair)
        text = transcribe(client, first, silence(pause), second, vad_filter=False).text.casefold()
        assert [text.count(KEYS[name]) for name in pair] == [1, 1], text

    def test_the_second_may_be_much_quieter(self, client: OpenAI, clips: dict[str, Clip]) -> None:
        first, second = (samples_of(clips[name]) for name in (FOX, WORLD))
        result = transcribe(client, first, silence(3), second / 20, vad_filter=False)
        assert "hello world" in result.text.casefold(), result.text

    def test_there_may_be_noise_between(self, client: OpenAI, clips: dict[str, Clip]) -> None:
        first, second = (samples_of(clips[name]) for name in (WORLD, FOX))
        result = transcribe(client, first, silence(4, noise=0.003), second, vad_filter=False)
        assert "hello world" in result.text.casefold(), result.text
        assert "lazy dog" in result.text.casefold(), result.text


class TestRepetition:
    """A loop of the decoder's hides nothing, and what is really repeated stands."""

    @pytest.mark.parametrize(("times", "pause"), [(8, 0.5), (12, 0.0), (20, 0.3)])
    def test_a_sentence_that_is_repeated_and_what_follows_it(
        self, client: OpenAI, clips: dict[str, Clip], times: int, pause: float
    ) -> None:
        world, fox = (samples_of(clips[name]) for name in (WORLD, FOX))
        spoken = [world[SAMPLE_RATE // 20 : round(0.8 * SAMPLE_RATE)], silence(pause)]
        result = transcribe(client, *spoken * times, silence(0.3), fox)
        heard = len(re.findall("world", result.text.casefold()))
        assert times * 0.75 <= heard <= times * 1.25, result.text
        assert "lazy dog" in result.text.casefold(), result.text

    def test_a_word_that_is_set_twelve_times_in_its_place(
        self, client: OpenAI, clips: dict[str, Clip]
    ) -> None:
        fox = samples_of(clips[FOX])
        words = client.audio.transcriptions.create(
            model="whisper-1", file=clips[FOX].path, language="en",
            response_format="verbose_json", timestamp_granularities=["word"],
        ).words or []  # fmt: skip
        brown = next(word for word in words if word.word.strip() == "brown")
        begin, end = round(brown.start * SAMPLE_RATE), round(brown.end * SAMPLE_RATE)
        parts = [fox[:begin], *[fox[begin:end]] * 12, fox[end:], silence(0.5)]
        result = transcribe(client, *parts, samples_of(clips[WORLD]))
        text = result.text.casefold()
        assert 9 <= text.count("brown") <= 15, text
        assert "hello world" in text, text
        assert "dog" in text, text


class TestPrompts:
    def test_names_of_a_prompt_are_spelled_and_not_stuttered(
        self, client: OpenAI, clips: dict[str, Clip]
    ) -> None:
        result = transcribe(client, samples_of(clips[FOX]), prompt="Names: Mr. Fawkes, Ms. Daug.")
        words = re.findall(r"\w+", result.text.casefold())
        assert len(words) == 9, result.text
        assert words[:3] == ["the", "quick", "brown"], result.text

    @pytest.mark.parametrize(
        "prompt",
        [
            "Guten Tag, meine Damen und Herren. Heute sprechen wir über das Wetter.",
            "Bonjour à tous, nous allons parler de la météo.",
            "今日は天気について話します。",
        ],
    )
    def test_a_prompt_does_not_say_what_language_is_spoken(
        self, client: OpenAI, clips: dict[str, Clip], prompt: str
    ) -> None:
        result = transcribe(client, samples_of(clips[FOX]), prompt=prompt)
        assert result.language == "english"
        assert "lazy dog" in result.text.casefold(), result.text

    def test_of_a_long_recording_neither(self, client: OpenAI, clips: dict[str, Clip]) -> None:
        fox, world = (samples_of(clips[name]) for name in (FOX, WORLD))
        parts = [fox, silence(1), world, silence(1)] * 6
        result = transcribe(client, *parts, prompt="Guten Tag, meine Damen und Herren.")
        assert result.language == "english"
        assert result.text.casefold().count("lazy dog") == 6, result.text
        assert result.text.casefold().count("hello world") == 6, result.text


@pytest.mark.parametrize("language", ["auto", ""])
def test_a_language_may_be_left_to_be_found(
    client: OpenAI, clips: dict[str, Clip], language: str
) -> None:
    result = transcribe(client, samples_of(clips["fr/pangrama"]), language=language)
    assert result.language == "french"


def test_a_request_with_chance_is_answered_the_same_twice(
    client: OpenAI, clips: dict[str, Clip]
) -> None:
    said = samples_of(clips["pl/pangrama"])
    one, other = (transcribe(client, said, language="pl", temperature=0.9) for _ in range(2))
    assert one.text == other.text
