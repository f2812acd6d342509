"""The document says what the service does, and its page needs no internet."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from whisper_service.api.errors import WIRE
from whisper_service.api.form import TranscriptionForm
from whisper_service.errors import Fault, ServiceError
from whisper_service.settings import Settings

SPEECH = ["/api/v1/audio/transcriptions", "/api/v1/audio/translations"]


@pytest.fixture
def document(app) -> dict[str, Any]:
    return app.openapi()


def documented(document, path: str, response) -> None:
    """The response is one that the document has: its status, its type and its shape."""
    responses = document["paths"][path][response.request.method.lower()]["responses"]
    content = responses[str(response.status_code)]["content"]
    kind = response.headers["content-type"].partition(";")[0]
    schema = content[kind]["schema"] | {"components": document["components"]}
    jsonschema.validate(response.json() if kind == "application/json" else response.text, schema)


def test_the_document_is_valid(document) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


async def test_the_document_is_served(client, document) -> None:
    assert (await client.get("http://test/openapi.json")).json() == document


def test_every_path_is_documented_once(document) -> None:
    assert set(document["paths"]) == {
        *SPEECH,
        "/api/v1/models",
        "/api/v1/models/{model}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    operations = [op for path in document["paths"].values() for op in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all("200" in operation["responses"] for operation in operations)
    assert all("422" not in operation["responses"] for operation in operations)


def test_every_field_is_described(document) -> None:
    properties = document["components"]["schemas"]["TranscriptionForm"]["properties"]
    plain = {name.removesuffix("[]") for name in properties}
    assert plain == {"file", *TranscriptionForm.model_fields}
    assert all(field.get("description") for field in properties.values())
    assert properties["file"]["format"] == "binary"
    assert properties["prompt"]["maxLength"] == Settings(_env_file=None).max_prompt_chars
    assert "null" not in str(properties)
    assert {"timestamp_granularities[]", "include[]"} <= set(properties)


@pytest.mark.parametrize("path", SPEECH)
def test_every_error_of_a_transcription_is_described_with_an_example(document, path) -> None:
    responses = document["paths"][path]["post"]["responses"]
    of_other_routes = {Fault.UNAUTHORIZED, Fault.METHOD_NOT_ALLOWED, Fault.ROUTE_NOT_FOUND}
    statuses = {str(WIRE[fault].status) for fault in set(Fault) - of_other_routes}
    assert statuses == set(responses) - {"200"}
    error = {"$ref": "#/components/schemas/Error", "components": document["components"]}
    for status in statuses:
        examples = responses[status]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            jsonschema.validate(example["value"], error)
        assert ("retry-after" in responses[status]["headers"]) == (status in {"429", "503"})


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
@pytest.mark.parametrize("path", SPEECH)
async def test_every_format_is_as_documented(post, document, path, response_format) -> None:
    response = await post({"response_format": response_format}, to=f"http://test{path}")
    assert response.status_code == 200
    documented(document, path, response)


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_error_is_as_documented(post, document, transcriber, fault) -> None:
    transcriber.failure = ServiceError(fault, "What is wrong.")
    response = await post()
    if fault not in {Fault.UNAUTHORIZED, Fault.METHOD_NOT_ALLOWED}:
        documented(document, SPEECH[0], response)


async def test_the_other_routes_are_as_documented(client, document) -> None:
    for path, address in {
        "/api/v1/models": "/v1/models",
        "/api/v1/models/{model}": "/v1/models/whisper-1",
        "/health/live": "/health/live",
        "/health/ready": "/health/ready",
        "/metrics": "/metrics",
    }.items():
        documented(document, path, await client.get(f"http://test{address}"))
    missing = await client.get("http://test/v1/models/none")
    documented(document, "/api/v1/models/{model}", missing)


async def test_the_page_loads_nothing_from_elsewhere(client) -> None:
    page = await client.get("http://test/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 3
    for link in links:
        asset = await client.get(f"http://test/{link}")
        assert asset.status_code == 200
        assert len(asset.content) > 500
    assert "http" not in page.text.replace("http-equiv", "").split("<script>")[0]
    assert "'openapi.json'" in page.text


async def test_the_page_serves_only_its_own_files(client, error_of) -> None:
    for name in ("docs/redoc.standalone.js", "docs/..%2fcore.py", "docs/%00"):
        response = await client.get(f"http://test/{name}")
        assert response.status_code == 404
        error_of(response)
