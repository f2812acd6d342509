"""Every field in every spelling that clients send; every wrong one named and explained."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from whisper_service.api.check import check_form
from whisper_service.api.fields import gather
from whisper_service.api.form import TranscriptionForm, TranslationForm
from whisper_service.api.options import read_request
from whisper_service.domain import ModelCard, SpeechOptions
from whisper_service.errors import ServiceError
from whisper_service.settings import Settings

SERVED = ModelCard("whisper-1", 0, "openai", {"en": "english", "de": "german"})
DEFAULTS = Settings(_env_file=None)
VAD = {"type": "server_vad", "threshold": "0.25", "silence_duration_ms": "500"}


@pytest.mark.parametrize(
    "spelling",
    [
        "timestamp_granularities[]",
        "timestamp_granularities",
        "timestamp_granularities[0]",
        "timestamp_granularities.0",
    ],
)
async def test_lists_come_in_many_spellings(post, spelling) -> None:
    response = await post({spelling: "segment", "response_format": "verbose_json"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {f"chunking_strategy[{key}]": value for key, value in VAD.items()},
        {f"chunking_strategy.{key}": value for key, value in VAD.items()},
        {"chunking_strategy": json.dumps(VAD)},
        {"chunking_strategy": ' {"type":"server_vad","threshold":0.25,"silence_duration_ms":500}'},
    ],
)
async def test_objects_come_in_many_spellings(post, transcriber, fields) -> None:
    assert (await post(fields)).status_code == 200
    assert transcriber.options.speech == SpeechOptions(threshold=0.25, silence_duration_ms=500)


@pytest.mark.parametrize("value", ["true", "True", "1", "on", "yes"])
async def test_truth_comes_in_many_spellings(post, transcriber, value) -> None:
    await post({"condition_on_previous_text": value})
    assert transcriber.options.condition_on_previous_text


@pytest.mark.parametrize(
    ("fields", "speech"),
    [
        ({"vad_filter": "false"}, None),
        ({"vad_filter": "true"}, SpeechOptions()),
        ({"chunking_strategy": "auto"}, SpeechOptions()),
        ({"chunking_strategy": "auto", "vad_filter": "false"}, None),
    ],
)
async def test_speech_detection_can_be_turned_off(post, transcriber, fields, speech) -> None:
    await post(fields)
    assert transcriber.options.speech == speech


def test_a_chunking_strategy_turns_on_what_the_server_has_off() -> None:
    off = Settings(_env_file=None, vad_filter=False)
    plain = TranscriptionForm(model="whisper-1")
    assert read_request(plain, SERVED, off).options.speech is None
    auto = TranscriptionForm(model="whisper-1", chunking_strategy="auto")
    assert read_request(auto, SERVED, off).options.speech == SpeechOptions()


WRONG = [
    ({"temperature": "1.5"}, "temperature", "invalid_value", "less than or equal to 1"),
    ({"temperature": "-0.1"}, "temperature", "invalid_value", "greater than or equal to 0"),
    ({"temperature": "warm"}, "temperature", "invalid_value", "number"),
    ({"temperature": "nan"}, "temperature", "invalid_value", "finite"),
    ({"temperature": "inf"}, "temperature", "invalid_value", ""),
    ({"temperature": ["0", "1"]}, "temperature", "invalid_value", "more than once"),
    ({"response_format": "xml"}, "response_format", "invalid_value", "'srt'"),
    ({"response_format": "diarized_json"}, "response_format", "unsupported_value", "speakers"),
    ({"known_speaker_names[]": "Ada"}, "known_speaker_names[]", "unsupported_value", "speakers"),
    ({"known_speaker_references[]": "data:"}, "known_speaker_references[]",
     "unsupported_value", "speakers"),
    ({"keywords[]": "Ada"}, "keywords[]", "unsupported_value", "prompt"),
    ({"languages[]": "en"}, "languages[]", "unsupported_value", "language"),
    ({"language": "klingon"}, "language", "invalid_value", "de, en, haw"),
    ({"language": "fr"}, "language", "invalid_value", "does not know"),
    ({"prompt": "x" * 101}, "prompt", "invalid_value", "at most 100"),
    ({"prompt": "x" * 70_000}, "prompt", "invalid_value", "longer than"),
    ({"model": None}, "model", "missing_required_parameter", "required"),
    ({"model": ""}, "model", "missing_required_parameter", "required"),
    ({"model": "gpt-4o"}, "model", "model_not_found", "'openai/whisper-large-v3' or 'whisper-1'"),
    ({"tempreature": "0"}, "tempreature", "unknown_parameter", "temperature"),
    ({"tempreature": ""}, "tempreature", "unknown_parameter", "temperature"),
    ({"temperature[]": "0"}, "temperature[]", "unknown_parameter", "temperature"),
    ({"": "0"}, None, "malformed_request", "name"),
    ({"stream": "true", "response_format": "srt"}, "stream", "invalid_value", "verbose_json"),
    ({"stream": "true", "response_format": "vtt"}, "stream", "invalid_value", "verbose_json"),
    ({"stream": "maybe"}, "stream", "invalid_value", "boolean"),
    ({"vad_filter": "perhaps"}, "vad_filter", "invalid_value", "boolean"),
    ({"timestamp_granularities[]": "syllable"}, "timestamp_granularities", "invalid_value",
     "'segment' or 'word'"),
    ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "invalid_value",
     "verbose_json"),
    ({"timestamp_granularities[]": "word", "response_format": "srt"},
     "timestamp_granularities", "invalid_value", "word_timestamps"),
    ({"word_timestamps": "true"}, "word_timestamps", "invalid_value", "'srt' or 'vtt'"),
    ({"word_timestamps": "true", "response_format": "verbose_json"}, "word_timestamps",
     "invalid_value", "timestamp_granularities[]=word"),
    ({"word_timestamps": "often", "response_format": "srt"}, "word_timestamps", "invalid_value",
     "boolean"),
    ({"max_line_width": "40"}, "max_line_width", "invalid_value", "'srt' or 'vtt'"),
    ({"max_line_width": "0", "response_format": "srt"}, "max_line_width", "invalid_value", "1"),
    ({"max_line_width": "9" * 5000, "response_format": "srt"}, "max_line_width",
     "invalid_value", ""),
    ({"max_line_count": "0", "response_format": "vtt"}, "max_line_count", "invalid_value", "1"),
    ({"max_cue_seconds": "0", "response_format": "vtt"}, "max_cue_seconds", "invalid_value", "0.5"),
    ({"max_cue_seconds": "nan", "response_format": "vtt"}, "max_cue_seconds", "invalid_value", ""),
    ({"hallucination_silence_threshold": "0"}, "hallucination_silence_threshold",
     "invalid_value", "greater than 0"),
    ({"hallucination_silence_threshold": "inf"}, "hallucination_silence_threshold",
     "invalid_value", ""),
    ({"include[]": "logprobs", "response_format": "text"}, "include", "invalid_value", "'json'"),
    ({"include[]": "everything"}, "include", "invalid_value", "'logprobs'"),
    ({"chunking_strategy": "manual"}, "chunking_strategy", "invalid_value", "server_vad"),
    ({"chunking_strategy": "{"}, "chunking_strategy", "invalid_value", "JSON"),
    ({"chunking_strategy": "{" * 50_000}, "chunking_strategy", "invalid_value", "JSON"),
    ({"chunking_strategy": '{"a":' * 8_000}, "chunking_strategy", "invalid_value", "JSON"),
    ({"chunking_strategy": '["auto"]'}, "chunking_strategy", "invalid_value", "server_vad"),
    ({"chunking_strategy": "{}"}, "chunking_strategy[type]", "missing_required_parameter", ""),
    ({"chunking_strategy[type]": "ear"}, "chunking_strategy[type]", "invalid_value", "server_vad"),
    ({"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "2"},
     "chunking_strategy[threshold]", "invalid_value", "less than or equal to 1"),
    ({"chunking_strategy[type]": "server_vad", "chunking_strategy[volume]": "2"},
     "chunking_strategy[volume]", "unknown_parameter", "threshold"),
    ({"chunking_strategy": '{"type":"server_vad","\\ud800":1}'}, "chunking_strategy",
     "invalid_value", "'\\ud800'"),
    ({"chunking_strategy": '{"type":"server_vad","prefix_padding_ms":' + "9" * 4000 + "}"},
     "chunking_strategy[prefix_padding_ms]", "invalid_value", ""),
    ({"chunking_strategy": '{"type":"server_vad","threshold":' + "9" * 4000 + "}"},
     "chunking_strategy[threshold]", "invalid_value", ""),
    ({"chunking_strategy": "auto", "chunking_strategy[type]": "server_vad"},
     "chunking_strategy[type]", "invalid_value", "more than once"),
    ({"chunking_strategy[type]": "server_vad", "vad_filter": "false"}, "vad_filter",
     "invalid_value", "chunking_strategy"),
    ({"compression_ratio_threshold": "0"}, "compression_ratio_threshold", "invalid_value", ""),
    ({"logprob_threshold": "1"}, "logprob_threshold", "invalid_value", ""),
    ({"no_speech_threshold": "1.1"}, "no_speech_threshold", "invalid_value", ""),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "code", "hint"), WRONG)
async def test_a_wrong_field_is_named_and_explained(
    post, error_of, transcriber, fields, param, code, hint
) -> None:
    response = await post(fields)
    error = error_of(response)
    assert response.status_code == (404 if code == "model_not_found" else 400)
    assert error["param"] == param
    assert error["code"] == code
    assert error["type"] == "invalid_request_error"
    assert hint in error["message"]
    assert len(error["message"]) < 2000
    assert not transcriber.asked


@pytest.mark.parametrize("name", ["language", "stream", "include[]", "chunking_strategy"])
async def test_translations_have_fewer_fields(post, error_of, name) -> None:
    error = error_of(await post({name: "en"}, to="audio/translations"))
    assert error["code"] == "unknown_parameter"


async def test_a_long_value_is_not_echoed_whole(post, error_of) -> None:
    error = error_of(await post({"x" * 3000: "1"}))
    assert error["param"].startswith("xxx")
    assert len(error["param"]) < 200


async def test_text_that_is_not_utf8_is_refused(client, raw, error_of) -> None:
    form = raw.text("prompt", b"\xff\xfe").file()
    response = await client.post("audio/transcriptions", content=form.body, headers=form.headers)
    assert error_of(response)["param"] == "prompt"


NAMES = st.one_of(
    st.sampled_from(
        [
            *(field for field in TranscriptionForm.model_fields),
            "timestamp_granularities[]",
            "include[]",
            "include[0]",
            "chunking_strategy[type]",
            "chunking_strategy[threshold]",
            "chunking_strategy.silence_duration_ms",
            "known_speaker_names[]",
            "file",
        ]
    ),
    st.from_regex(r"[a-z_]{1,12}(\[[a-z0-9]{0,4}\]|\.[a-z]{1,4})?", fullmatch=True),
    st.text(max_size=20),
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "auto", "json", "srt", "true", "0", "1", "0.5", "en", "whisper-1", "server_vad"]
    ),
    st.text(max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.dictionaries(
        st.sampled_from(["type", "threshold", "prefix_padding_ms", "x"]),
        st.one_of(st.none(), st.just("server_vad"), st.floats(), st.lists(st.integers())),
        max_size=3,
    ).map(json.dumps),
)


def understand(model, sent):
    try:
        return read_request(check_form(model, gather(sent)), SERVED, DEFAULTS)
    except ServiceError as error:
        return error


@given(
    model=st.sampled_from([TranscriptionForm, TranslationForm]),
    sent=st.lists(st.tuples(NAMES, VALUES), max_size=8),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_whatever_is_sent_is_understood_or_explained(model, sent) -> None:
    asked = understand(model, [("model", "whisper-1"), *sent])
    if isinstance(asked, ServiceError):
        assert 0 < len(asked.message) < 2000
    else:
        assert asked.options.temperatures
        assert all(0 <= temperature <= 1 for temperature in asked.options.temperatures)


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=5))
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_no_field_makes_the_server_fail(client, fields) -> None:
    sent = [(None, f"{value}") for _, value in fields]
    files = [(name or "x", value) for (name, _), value in zip(fields, sent, strict=True)]
    response = await client.post(
        "audio/transcriptions",
        files=[("model", (None, "whisper-1")), ("file", ("a.wav", b"RIFF")), *files],
    )
    assert response.status_code in {200, 400, 404}
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
