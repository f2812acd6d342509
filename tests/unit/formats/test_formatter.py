from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.audio import (
    Transcription,
    TranscriptionSegment,
    TranscriptionVerbose,
    TranscriptionWord,
    Translation,
    TranslationVerbose,
)
from pydantic import BaseModel

from whisper_service.domain import Segment, Task, TokenLogprob, TokenUsage, Transcript, Word
from whisper_service.formats import schema
from whisper_service.formats.formatter import format_transcript
from whisper_service.formats.response_format import Granularity, ResponseFormat, UsageType

BOTH = frozenset(Granularity)
WORDS = frozenset({Granularity.WORD})

# OpenAI's TranscriptionSegment, all of them required
TEN_FIELDS = {"id", "seek", "start", "end", "text", "tokens", "temperature"} | {
    "avg_logprob",
    "compression_ratio",
    "no_speech_prob",
}

HELLO = Segment(
    id=0,
    seek=0,
    start=0.0,
    end=3.3200000000000003,
    text=" Hello, wörld.",
    tokens=(50364, 2425, 11),
    temperature=0.2,
    avg_logprob=-0.2700000107288361,
    compression_ratio=0.9,
    no_speech_prob=0.01,
    words=(Word(" Hello,", 0.1, 0.48, 0.9), Word(" wörld.", 0.48, 1.2000000000000002, 0.8)),
)
BYE = replace(HELLO, id=1, start=4.0, end=5.0, text=" Bye.", words=(Word(" Bye.", 4.0, 4.5, 0.9),))
TRANSCRIPT = Transcript(
    task=Task.TRANSCRIBE,
    language="de",
    duration=8.470000267028809,
    segments=(HELLO, BYE),
    usage=TokenUsage(audio_tokens=1490, text_tokens=10, output_tokens=12),
)
SILENCE = Transcript(Task.TRANSCRIBE, "en", 2.0, ())


def body_of(
    transcript: Transcript, response_format: ResponseFormat = ResponseFormat.JSON, **options: Any
) -> str:
    return format_transcript(transcript, response_format, **options).body.decode()


def json_of(
    transcript: Transcript, response_format: ResponseFormat = ResponseFormat.JSON, **options: Any
) -> Any:
    return json.loads(body_of(transcript, response_format, **options))


def verbose_of(transcript: Transcript, **options: Any) -> Any:
    return json_of(transcript, ResponseFormat.VERBOSE_JSON, **options)


# --- json -------------------------------------------------------------------------------------


def test_json_is_the_text_and_the_duration_rounded_up_to_whole_seconds() -> None:
    assert body_of(TRANSCRIPT) == (
        '{"text":"Hello, wörld. Bye.","usage":{"type":"duration","seconds":9}}'
    )


def test_a_whole_number_of_seconds_is_not_rounded_up() -> None:
    transcript = replace(TRANSCRIPT, duration=8.000000001)
    assert json_of(transcript)["usage"] == {"type": "duration", "seconds": 8}


def test_json_can_state_its_usage_in_tokens() -> None:
    assert json_of(TRANSCRIPT, usage=UsageType.TOKENS)["usage"] == {
        "type": "tokens",
        "input_tokens": 1500,
        "output_tokens": 12,
        "total_tokens": 1512,
        "input_token_details": {"audio_tokens": 1490, "text_tokens": 10},
    }


def test_json_has_logprobs_when_the_transcript_has() -> None:
    logprobs = (
        TokenLogprob(" Hello", -0.01, (32, 72, 101, 108, 108, 111)),
        TokenLogprob("\ufffd", -math.inf, (195,)),
    )
    body = body_of(replace(TRANSCRIPT, logprobs=logprobs))
    assert json.loads(body)["logprobs"] == [
        {"token": " Hello", "logprob": -0.01, "bytes": [32, 72, 101, 108, 108, 111]},
        {"token": "\ufffd", "logprob": -9999.0, "bytes": [195]},
    ]
    parsed = Transcription.model_validate_json(body, strict=True)
    assert parsed.logprobs is not None
    assert parsed.logprobs[0].token == " Hello"


def test_json_of_silence_is_an_empty_text() -> None:
    assert json_of(SILENCE)["text"] == ""


# --- text -------------------------------------------------------------------------------------


def test_text_is_the_raw_text_and_a_newline() -> None:
    assert body_of(TRANSCRIPT, ResponseFormat.TEXT) == "Hello, wörld. Bye.\n"
    assert body_of(SILENCE, ResponseFormat.TEXT) == "\n"


# --- srt and vtt (test_subtitles.py has the rest) ---------------------------------------------


def test_srt_is_a_raw_body() -> None:
    assert body_of(TRANSCRIPT, ResponseFormat.SRT).startswith(
        "1\n00:00:00,000 --> 00:00:03,320\nHello, wörld.\n\n2\n"
    )


def test_vtt_is_a_raw_body() -> None:
    assert body_of(TRANSCRIPT, ResponseFormat.VTT).startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:03.320\nHello, wörld.\n\n"
    )


# --- verbose_json -----------------------------------------------------------------------------


def test_verbose_json_has_segments_of_openais_ten_fields() -> None:
    body = verbose_of(TRANSCRIPT)
    assert {key: body[key] for key in ("task", "language", "duration", "text", "usage")} == {
        "task": "transcribe",
        "language": "german",
        "duration": 8.47,
        "text": "Hello, wörld. Bye.",
        "usage": {"type": "duration", "seconds": 9},
    }
    assert "words" not in body
    assert len(body["segments"]) == 2
    assert body["segments"][0] == {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 3.32,
        "text": " Hello, wörld.",
        "tokens": [50364, 2425, 11],
        "temperature": 0.2,
        "avg_logprob": -0.27,
        "compression_ratio": 0.9,
        "no_speech_prob": 0.01,
    }


def test_asking_for_words_alone_gives_words_and_no_segments() -> None:
    body = verbose_of(TRANSCRIPT, granularities=WORDS)
    assert "segments" not in body
    assert body["words"] == [
        {"word": "Hello,", "start": 0.1, "end": 0.48},
        {"word": "wörld.", "start": 0.48, "end": 1.2},
        {"word": "Bye.", "start": 4.0, "end": 4.5},
    ]


def test_asking_for_both_gives_both_and_each_segment_its_words() -> None:
    body = verbose_of(TRANSCRIPT, granularities=BOTH)
    assert [len(segment["words"]) for segment in body["segments"]] == [2, 1]
    assert body["segments"][0]["words"] == [
        {"word": " Hello,", "start": 0.1, "end": 0.48, "probability": 0.9},
        {"word": " wörld.", "start": 0.48, "end": 1.2, "probability": 0.8},
    ]
    for segment in body["segments"]:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
    written = [word for segment in body["segments"] for word in segment["words"]]
    assert [(word["word"].strip(), word["start"], word["end"]) for word in written] == [
        (word["word"], word["start"], word["end"]) for word in body["words"]
    ]
    assert {*body["segments"][0]} == TEN_FIELDS | {"words"}


def test_asking_for_nothing_in_particular_gives_segments() -> None:
    assert verbose_of(TRANSCRIPT, granularities=frozenset()) == verbose_of(TRANSCRIPT)


def test_silence_has_lists_that_are_empty_not_missing() -> None:
    body = verbose_of(SILENCE, granularities=BOTH)
    assert (body["text"], body["segments"], body["words"]) == ("", [], [])


def test_a_translation_is_english_whatever_was_spoken() -> None:
    translation = replace(TRANSCRIPT, task=Task.TRANSLATE)
    body = verbose_of(translation)
    assert (body["task"], body["language"]) == ("translate", "english")
    parsed = TranslationVerbose.model_validate_json(
        body_of(translation, ResponseFormat.VERBOSE_JSON), strict=True
    )
    assert parsed.segments is not None
    assert Translation.model_validate_json(body_of(translation)).text == "Hello, wörld. Bye."


# --- Every format -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response_format", "media_type"),
    [
        ("json", "application/json"),
        ("verbose_json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
        ("srt", "text/plain; charset=utf-8"),
        ("vtt", "text/plain; charset=utf-8"),
    ],
)
def test_content_types_are_those_of_openais_own_server(
    response_format: str, media_type: str
) -> None:
    formatted = format_transcript(TRANSCRIPT, ResponseFormat(response_format))
    assert formatted.media_type == media_type


# --- Any transcript ---------------------------------------------------------------------------

numbers = st.floats(-10, 10) | st.sampled_from([0.1 + 0.2, math.nan, math.inf, -math.inf, 1e300])
times = st.floats(0, 500_000) | st.sampled_from([3.3200000000000003, math.nan, math.inf, -0.0])
texts = st.text(st.characters(codec=None), max_size=12)  # lone surrogates too
words = st.builds(Word, texts, times, times, numbers)
segments = st.builds(
    Segment,
    id=st.integers(0, 9999),
    seek=st.integers(0, 10**8),
    start=times,
    end=times,
    text=texts,
    tokens=st.lists(st.integers(0, 51_865), max_size=3).map(tuple),
    temperature=numbers,
    avg_logprob=numbers,
    compression_ratio=numbers,
    no_speech_prob=numbers,
    words=st.none() | st.lists(words, max_size=3).map(tuple),
)
transcripts = st.builds(
    Transcript,
    task=st.sampled_from(Task),
    language=st.sampled_from(["en", "zh", "yue", "tlh"]),
    duration=times,
    segments=st.lists(segments, max_size=3).map(tuple),
    logprobs=st.none()
    | st.lists(
        st.builds(TokenLogprob, texts, numbers, st.lists(st.integers(0, 255)).map(tuple)),
        max_size=2,
    ).map(tuple),
    usage=st.builds(TokenUsage, st.integers(0, 10**6), st.integers(0, 10**6)),
)
some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(transcripts, st.sampled_from(UsageType))
@some
def test_any_json_is_openais_transcription(transcript: Transcript, usage: UsageType) -> None:
    body = body_of(transcript, usage=usage)
    parsed = Transcription.model_validate_json(body, strict=True)
    assert_same(parsed.text, transcript.text)
    assert (parsed.logprobs is None) == (transcript.logprobs is None)
    assert parsed.usage is not None
    assert parsed.usage.type == usage
    assert not parsed.model_extra
    assert_clean(body)


@given(transcripts, st.sets(st.sampled_from(Granularity)).map(frozenset))
@some
def test_any_verbose_json_is_openais_verbose_transcription(
    transcript: Transcript, granularities: frozenset[Granularity]
) -> None:
    body = body_of(transcript, ResponseFormat.VERBOSE_JSON, granularities=granularities)
    parsed = TranscriptionVerbose.model_validate_json(body, strict=True)
    assert_same(parsed.text, transcript.text)
    assert {*(parsed.model_extra or {})} == {"task"}
    assert (parsed.words is not None) == (Granularity.WORD in granularities)
    assert (parsed.segments is not None) == (granularities != WORDS)
    for segment in json.loads(body).get("segments", []):
        TranscriptionSegment.model_validate(segment, strict=True)
        assert {*segment} - {"words"} == TEN_FIELDS
    for word in json.loads(body).get("words", []):
        TranscriptionWord.model_validate(word, strict=True)
        assert {*word} == {"word", "start", "end"}
        assert word["word"] == word["word"].strip() != ""
    assert_clean(body)


@given(transcripts, st.sampled_from(ResponseFormat))
@some
def test_any_body_is_utf_8(transcript: Transcript, response_format: ResponseFormat) -> None:
    format_transcript(transcript, response_format).body.decode("utf-8", "strict")


def assert_same(text: str, original: str) -> None:
    """The text is the original one, but for surrogates, which UTF-8 has not."""
    if not any("\ud800" <= char <= "\udfff" for char in original):
        assert text == original


def assert_clean(body: str) -> None:
    """No NaN or infinity, no null, and no number with more digits than it has meaning."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    for leaf in leaves(json.loads(body, parse_float=Decimal, parse_constant=refuse)):
        assert leaf is not None
        if isinstance(leaf, Decimal):
            exponent = leaf.as_tuple().exponent
            assert isinstance(exponent, int)
            assert exponent >= -6


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


# --- The OpenAPI document ---------------------------------------------------------------------


@pytest.mark.parametrize("model", [schema.TranscriptionJson, schema.TranscriptionVerboseJson])
def test_the_schema_explains_every_field_and_knows_no_null(model: type[BaseModel]) -> None:
    document = model.model_json_schema(mode="serialization")
    assert document["examples"]
    for example in document["examples"]:
        model.model_validate_json(json.dumps(example), strict=True)
    for part in (document, *document["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), name
            assert "default" not in field or field["default"] == field.get("const"), name
    assert '"null"' not in json.dumps(document)


def test_the_schema_requires_what_openai_requires() -> None:
    document = schema.TranscriptionVerboseJson.model_json_schema(mode="serialization")
    assert {*document["required"]} >= {"task", "language", "duration", "text"}
    assert {*document["$defs"]["TranscriptionSegment"]["required"]} == TEN_FIELDS
    assert {*document["$defs"]["TranscriptionWord"]["required"]} == {"word", "start", "end"}
