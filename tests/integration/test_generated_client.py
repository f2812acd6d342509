"""A client that a generator made of the OpenAPI document, against the running service."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Clip
from tests.integration.conftest import Server

PACKAGE = "whisper_service_client"


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that imports the package's modules, by their names below it."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yml"
    config.write_text("post_hooks: []\n")  # formatters, for people who read the code
    done = subprocess.run(
        [Path(sys.executable).with_name("openapi-python-client"), "generate", "--fail-on-warning",
         "--url", f"{server.url}/openapi.json", "--config", config, "--meta", "none",
         "--output-path", folder / PACKAGE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    sys.path.remove(str(folder))


@pytest.fixture
def client(server: Server, generated: Any) -> Iterator[Any]:
    with generated("client").Client(base_url=server.url, timeout=300) as client:
        yield client


@pytest.fixture
def speech(generated: Any, clips: dict[str, Clip]) -> Any:
    clip = clips["en/quick_brown_fox"].path
    return generated("types").File(payload=io.BytesIO(clip.read_bytes()), file_name=clip.name)


def transcribe(generated: Any, client: Any, **fields: Any) -> Any:
    form = generated("models").TranscriptionForm(model="whisper-1", **fields)
    return generated("api.audio.create_transcription").sync(client=client, body=form)


def test_it_transcribes(generated: Any, client: Any, speech: Any) -> None:
    answer = transcribe(generated, client, file=speech, language="en", vad_filter=True)
    assert type(answer).__name__ == "TranscriptionJson"
    assert "lazy dog" in answer.text


def test_it_knows_each_bodys_type(generated: Any, client: Any, speech: Any) -> None:
    models = generated("models")
    answer = transcribe(
        generated, client, file=speech, response_format=models.ResponseFormat.VERBOSE_JSON,
        timestamp_granularities=[models.Granularity.SEGMENT],
        chunking_strategy=models.ServerVad(type_="server_vad", threshold=0.4),
    )  # fmt: skip
    assert type(answer).__name__ == "TranscriptionVerboseJson"
    assert answer.segments[0].end > answer.segments[0].start
    assert answer.language == "english"


def test_it_translates(generated: Any, client: Any, clips: dict[str, Clip]) -> None:
    file = generated("types").File(
        payload=io.BytesIO(clips["fr/comptage"].path.read_bytes()), file_name="comptage.wav"
    )
    form = generated("models").TranslationForm(model="whisper-1", file=file)
    answer = generated("api.audio.create_translation").sync(client=client, body=form)
    assert answer.text


def test_a_refusal_is_an_error_with_its_field(generated: Any, client: Any, speech: Any) -> None:
    answer = transcribe(generated, client, file=speech, language="klingon")
    assert type(answer).__name__ == "Error"
    assert (answer.error.code, answer.error.param) == ("invalid_value", "language")


def test_it_lists_the_models_and_asks_for_health(generated: Any, client: Any) -> None:
    listed = generated("api.models.list_models").sync(client=client)
    assert [model.id for model in listed.data] == ["whisper-base", "whisper-1"]
    one = generated("api.models.retrieve_model").sync(client=client, model="whisper-1")
    assert one.object_ == "model"
    assert generated("api.operations.ready").sync(client=client).status == "ready"
