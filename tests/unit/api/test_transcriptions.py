"""A file goes in, text comes out, in the format that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from openai import AsyncOpenAI

from whisper_service.domain import QualityOptions, SpeechOptions, Task, Word

from .conftest import SEGMENT

FALLBACK = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


async def test_the_openai_sdk_gets_a_transcript(sdk: AsyncOpenAI, transcriber) -> None:
    result = await sdk.audio.transcriptions.create(file=b"RIFF speech", model="whisper-1")
    assert result.text == "Hello, world."
    assert result.usage is not None
    assert result.usage.type == "duration"
    assert transcriber.audio == b"RIFF speech"
    assert transcriber.options.task is Task.TRANSCRIBE


@pytest.mark.filterwarnings("ignore:deprecated")  # OpenAI retires its own; the SDK says so
async def test_the_openai_sdk_gets_a_translation(sdk: AsyncOpenAI, transcriber) -> None:
    result = await sdk.audio.translations.create(file=b"RIFF speech", model="whisper-1")
    assert result.text == "Hello, world."
    assert transcriber.options.task is Task.TRANSLATE


async def test_verbose_json_parses_into_the_sdks_own_type(sdk: AsyncOpenAI) -> None:
    result = await sdk.audio.transcriptions.create(
        file=b"RIFF speech",
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["segment"],
    )
    assert result.language == "german"
    assert result.duration == pytest.approx(3.32)
    assert result.segments is not None
    assert result.segments[0].avg_logprob == pytest.approx(-0.21)


@pytest.mark.parametrize(
    ("response_format", "beginning"),
    [("text", "Hello, world."), ("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT\n")],
)
async def test_text_and_subtitles_are_plain_bodies(
    sdk: AsyncOpenAI, post, response_format, beginning
) -> None:
    result = await sdk.audio.transcriptions.create(
        file=b"RIFF speech", model="whisper-1", response_format=response_format
    )
    assert str(result).startswith(beginning)
    response = await post({"response_format": response_format})
    assert response.headers["content-type"].startswith("text/plain")


async def test_every_field_of_the_sdk_reaches_the_engine(sdk: AsyncOpenAI, transcriber) -> None:
    await sdk.audio.transcriptions.create(
        file=b"RIFF speech",
        model="openai/whisper-large-v3",
        language="en",
        prompt="Dr. Nguyễn",
        temperature=0.4,
        stream=False,
        timestamp_granularities=["segment"],
        chunking_strategy={
            "type": "server_vad",
            "prefix_padding_ms": 10,
            "silence_duration_ms": 20,
            "threshold": 0.7,
        },
        extra_body={
            "condition_on_previous_text": True,
            "compression_ratio_threshold": 3.5,
            "logprob_threshold": -2,
            "no_speech_threshold": 0.9,
        },
    )
    options = transcriber.options
    assert options.language == "en"
    assert options.prompt == "Dr. Nguyễn"
    assert options.temperatures == (0.4,)
    assert options.condition_on_previous_text
    assert options.quality == QualityOptions(3.5, -2.0, 0.9)
    assert options.speech == SpeechOptions(0.7, 10, 20)


async def test_what_is_not_sent_is_the_servers_default(post, transcriber, settings) -> None:
    assert (await post()).status_code == 200
    options = transcriber.options
    assert options.language is None
    assert options.temperatures == FALLBACK
    assert options.speech == SpeechOptions()
    assert options.quality == QualityOptions()
    assert not options.condition_on_previous_text


@pytest.mark.parametrize("temperature", ["0", "0.0", ""])
async def test_temperature_0_means_the_fallback_ladder(post, transcriber, temperature) -> None:
    await post({"temperature": temperature})
    assert transcriber.options.temperatures == FALLBACK


async def test_a_blank_field_is_one_that_was_not_filled_in(post, transcriber) -> None:
    response = await post(
        {"language": "", "prompt": "", "response_format": "", "chunking_strategy": "",
         "timestamp_granularities[]": ""}
    )  # fmt: skip
    assert response.status_code == 200
    assert transcriber.options.language is None


@pytest.mark.parametrize("language", ["auto", "AUTO", " auto ", "", "  "])
async def test_no_language_can_be_said_in_words(post, transcriber, language: str) -> None:
    assert (await post({"language": language})).status_code == 200
    assert transcriber.options.language is None


async def test_an_unknown_language_is_told_how_to_go_without(post) -> None:
    error = (await post({"language": "klingon"})).json()["error"]
    assert error["param"] == "language"
    assert "Leave it out" in error["message"]


async def test_the_file_is_closed_when_the_answer_is_out(post, transcriber) -> None:
    await post()
    assert transcriber.file.closed


async def test_the_same_is_served_under_both_prefixes(client) -> None:
    for prefix in ("/v1", "/api/v1"):
        response = await client.post(
            f"http://test{prefix}/audio/transcriptions",
            data={"model": "whisper-1"},
            files={"file": b"RIFF"},
        )
        assert response.json()["text"] == "Hello, world."


async def test_an_english_only_model_takes_english(post, transcriber, error_of) -> None:
    transcriber.knows_english_only()
    assert (await post({"model": "tiny.en", "language": "english"})).status_code == 200
    assert error_of(await post({"model": "tiny.en", "language": "de"}))["param"] == "language"


async def test_an_english_only_model_does_not_translate(post, transcriber, error_of) -> None:
    transcriber.knows_english_only()
    error = error_of(await post({"model": "tiny.en"}, to="audio/translations"))
    assert error["code"] == "unsupported_value"
    assert error["param"] == "model"


WORDS = (Word(" Hello,", 0.1, 0.48, 0.9), Word(" world.", 0.48, 1.2, 0.8))
SPOKEN = replace(SEGMENT, words=WORDS)
VERBOSE = {"response_format": "verbose_json"}


async def test_words_alone_are_openais_and_with_segments_they_are_in_those_too(
    post, transcriber
) -> None:
    transcriber.segments = [SPOKEN]
    expected = [
        {"word": "Hello,", "start": 0.1, "end": 0.48},
        {"word": "world.", "start": 0.48, "end": 1.2},
    ]
    alone = (await post(VERBOSE | {"timestamp_granularities[]": "word"})).json()
    assert alone["words"] == expected
    assert "segments" not in alone
    both = (await post(VERBOSE | {"timestamp_granularities[]": ["word", "segment"]})).json()
    assert both["words"] == expected
    assert [word["probability"] for word in both["segments"][0]["words"]] == [0.9, 0.8]
    assert all(options.words for options in transcriber.asked)


@pytest.mark.parametrize(
    "fields",
    [
        VERBOSE | {"timestamp_granularities[]": "word"},
        {"response_format": "srt", "word_timestamps": "true"},
        {"response_format": "vtt", "word_timestamps": "true"},
        {"response_format": "srt", "max_line_width": "20"},
        {"response_format": "srt", "max_line_count": "1"},
        {"response_format": "vtt", "max_cue_seconds": "3"},
        {"hallucination_silence_threshold": "2"},
    ],
)
async def test_what_needs_words_has_them_made(post, transcriber, fields) -> None:
    transcriber.segments = [SPOKEN]
    assert (await post(fields)).status_code == 200
    assert transcriber.options.words


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
async def test_nothing_else_has_words_made(post, transcriber, response_format) -> None:
    await post({"response_format": response_format})
    assert not transcriber.options.words
    assert transcriber.options.hallucination_silence_seconds is None


async def test_subtitles_are_laid_out_as_asked_and_tell_the_words(post, transcriber) -> None:
    transcriber.segments = [SPOKEN]
    fields = {"response_format": "vtt", "word_timestamps": "true", "max_line_width": "7"}
    assert (await post(fields)).text == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:03.320\n<00:00:00.100>Hello,\n<00:00:00.480>world.\n"
    )


async def test_translations_lay_subtitles_out_but_have_no_words(
    post, transcriber, error_of
) -> None:
    to = "audio/translations"
    response = await post({"response_format": "srt", "max_line_width": "7"}, to=to)
    assert "Hello,\nworld." in response.text
    assert not transcriber.options.words
    for field, value in (
        ("word_timestamps", "true"), ("timestamp_granularities[]", "word"),
        ("hallucination_silence_threshold", "2"),
    ):  # fmt: skip
        assert error_of(await post({field: value}, to=to))["code"] == "unknown_parameter"
