"""What clients see of the running service besides transcripts."""

from __future__ import annotations

import io
import re
import wave

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI

from tests.conftest import Clip
from tests.integration.conftest import Server


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """A WAV file of float samples in [-1, 1]."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("response_format", "pattern"),
    [
        ("json", r'\{"text":"The quick brown fox'),
        ("text", r"The quick brown fox .*dog\.\n"),
        ("srt", r"1\n00:00:00,\d{3} --> 00:00:02,\d{3}\nThe quick"),
        ("vtt", r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:02\.\d{3}\nThe quick"),
        ("verbose_json", r'\{"task":"transcribe","language":"english"'),
    ],
)
def test_each_format_has_its_body(
    server: Server, clips: dict[str, Clip], response_format: str, pattern: str
) -> None:
    answer = httpx.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": clips["en/quick_brown_fox"].path.read_bytes()},
        data={"model": "whisper-1", "response_format": response_format},
        timeout=300,
    )
    assert answer.status_code == 200
    assert re.match(pattern, answer.text), answer.text
    assert answer.headers["x-request-id"]


def test_logprobs_come_with_json(client: OpenAI, clips: dict[str, Clip]) -> None:
    result = client.audio.transcriptions.create(
        model="whisper-1", file=clips["en/quick_brown_fox"].path, include=["logprobs"]
    )
    assert result.logprobs
    spelled = b"".join(bytes(int(b) for b in each.bytes or ()) for each in result.logprobs)
    assert spelled.decode().strip() == result.text
    assert all(each.logprob is not None and each.logprob <= 0 for each in result.logprobs)


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("silence", np.zeros(80_000)),
        ("white noise", np.random.default_rng(1).normal(0, 0.1, 80_000).clip(-1, 1)),
        ("a tone", 0.3 * np.sin(np.arange(80_000) * 0.17)),
    ],
)
def test_what_is_not_speech_has_no_text(client: OpenAI, name: str, samples: np.ndarray) -> None:
    result = client.audio.transcriptions.create(
        model="whisper-1", file=("sound.wav", wav(samples)), response_format="verbose_json"
    )
    assert (result.text, result.segments, result.duration) == ("", [], 5.0), name


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"this is a letter, not a recording", "Supported formats: flac, m4a, mp3"),
        (wav(np.zeros(800)), "0.1"),
    ],
)
def test_what_is_no_audio_is_refused(client: OpenAI, body: bytes, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        client.audio.transcriptions.create(model="whisper-1", file=("sound.wav", body))
    assert refused.value.param == "file"


def test_wrong_fields_are_refused(client: OpenAI, clips: dict[str, Clip]) -> None:
    clip = clips["en/hello_world"].path
    with pytest.raises(openai.NotFoundError, match="whisper-2"):
        client.audio.transcriptions.create(model="whisper-2", file=clip)
    with pytest.raises(openai.BadRequestError, match="language"):
        client.audio.transcriptions.create(model="whisper-1", file=clip, language="klingon")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.audio.transcriptions.create(model="whisper-1", file=clip, temperature=3)


def test_the_model_and_its_alias_are_served(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "whisper-base" in names
    assert client.models.retrieve("whisper-1").object == "model"


def test_the_docs_need_no_internet(server: Server) -> None:
    page = httpx.get(f"{server.url}/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        assert not link.startswith(("http", "//")), link
        assert httpx.get(f"{server.url}/{link.lstrip('/')}").status_code == 200, link


def test_metrics_tell_of_the_service_and_of_the_engine(server: Server) -> None:
    text = httpx.get(f"{server.url}/metrics").text
    assert "whisper_ready 1.0" in text
    assert re.search(r'whisper_engine_info\{.*dtype="\w+".*\} 1\.0', text)
    assert re.search(r"^vllm:", text, re.MULTILINE)
