"""Requests that are made up from the OpenAPI document: each gets an answer that is in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from tests.conftest import Clip
from tests.integration.conftest import Server
from tests.integration.test_contract import wav
from tests.unit.audio.conftest import encode_audio
from tests.unit.audio.mutations import mutant, seeds
from whisper_service.domain import SAMPLE_RATE

TRANSCRIBE, TRANSLATE = "/api/v1/audio/transcriptions", "/api/v1/audio/translations"
GET = ("/api/v1/models", "/api/v1/models/{model}", "/health/live", "/health/ready", "/metrics")
CHECKS = [
    not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
]  # fmt: skip
SCHEMA = checks.response_schema_conformance
EVENTS = ("TranscriptTextDelta", "TranscriptTextSegment", "TranscriptTextDone")
LONGEST = 2 * SAMPLE_RATE
MUTANTS = 100_000


def noise(seed: int, length: int) -> bytes:
    return wav(np.random.default_rng(seed).uniform(-1, 1, length))


@pytest.fixture(scope="module")
def audio(clips: dict[str, Clip]) -> st.SearchStrategy[bytes]:
    """Real speech, noise of any length, media files of every container that chance has damaged, and
    what is no audio at all.
    """
    speech = [clips[name].path.read_bytes() for name in ("en/hello_world", "fr/bonjour_monde")]
    sound = seeds(encode_audio)
    return st.one_of(
        st.sampled_from(speech),
        st.sampled_from(list(sound.values())),
        st.builds(noise, st.integers(0, 99), st.integers(0, LONGEST)),
        st.integers(0, MUTANTS).map(lambda number: mutant(sound, number)[1]),
        st.binary(max_size=200),
    )


@pytest.fixture(scope="module")
def document(server: Server, audio: st.SearchStrategy[bytes]) -> BaseSchema:
    """The service's own document, but for one thing: the names of the model that it serves.

    The document cannot know them, and any other is refused before all else.
    """
    schemathesis.openapi.format("binary", audio)
    document = httpx.get(f"{server.url}/openapi.json").json()
    names = [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]]
    for form in ("TranscriptionForm", "TranslationForm"):
        document["components"]["schemas"][form]["properties"]["model"] |= {"enum": names}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    return schema


def check_events(text: str, components: dict[str, Any]) -> None:
    """Each event is one of those that are described, and the last one is the end."""
    *events, end = re.findall(r"^data: (.*)$", text, re.MULTILINE)
    assert end == "[DONE]"
    allowed = [{"$ref": f"#/components/schemas/{name}"} for name in EVENTS]
    for event in events:
        jsonschema.validate(json.loads(event), {"anyOf": allowed, "components": components})


def fuzz(
    document: BaseSchema, method: str, path: str, mode: GenerationMode, examples: int
) -> Counter[int]:
    """How often there was which status."""
    statuses: Counter[int] = Counter()
    components = document.raw_schema["components"]

    @settings(
        max_examples=examples, phases=[Phase.generate], derandomize=True, database=None,
        deadline=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        response = case.call(timeout=300)
        stream = response.headers["content-type"][0].startswith("text/event-stream")
        # The schema of a stream is that of its text; schemathesis takes it for an event's.
        case.validate_response(response, checks=CHECKS, excluded_checks=[SCHEMA] if stream else [])
        if stream:
            check_events(response.text, components)
        assert response.headers["x-request-id"]
        statuses[response.status_code] += 1

    check()
    print(method, path, mode.value, dict(statuses))
    return statuses


def test_whatever_is_sent_in_the_right_types_gets_a_documented_answer(document: BaseSchema) -> None:
    for path, examples in ((TRANSCRIBE, 80), (TRANSLATE, 25)):
        statuses = fuzz(document, "POST", path, GenerationMode.POSITIVE, examples)
        assert set(statuses) <= {200, 400}
        assert statuses[200] > examples / 10, "too little of it reaches the engine"


def test_whatever_is_sent_in_wrong_types_is_refused(document: BaseSchema) -> None:
    for path, examples in ((TRANSCRIBE, 80), (TRANSLATE, 25)):
        statuses = fuzz(document, "POST", path, GenerationMode.NEGATIVE, examples)
        assert set(statuses) <= {200, 400, 404}
        assert statuses[400] > examples / 2


@pytest.mark.parametrize("path", GET)
def test_the_other_routes_answer_as_documented_whatever_they_are_asked(
    document: BaseSchema, path: str
) -> None:
    statuses = fuzz(document, "GET", path, GenerationMode.POSITIVE, 20)
    assert set(statuses) <= {200, 404}
