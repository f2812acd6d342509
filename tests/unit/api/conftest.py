"""The application over a transcriber that lives in the tests, and clients for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import httpx
import httpx2  # what the OpenAI SDK speaks
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI

from whisper_service.api.app import create_app
from whisper_service.api.keys import KeyRing
from whisper_service.domain import (
    ModelCard,
    Segment,
    SpokenSegment,
    TokenLogprob,
    TokenUsage,
    Transcript,
    TranscriptionOptions,
)
from whisper_service.service.admission import Admission, Permit
from whisper_service.service.contract import Listener, State
from whisper_service.settings import Settings

CARD = ModelCard(
    id="openai/whisper-large-v3",
    created=1_700_000_000,
    owned_by="openai",
    languages={"en": "english", "de": "german", "haw": "hawaiian"},
    aliases=("whisper-1",),
)

SEGMENT = Segment(
    id=0,
    seek=0,
    start=0.0,
    end=3.32,
    text=" Hello, world.",
    tokens=(50364, 2425, 11, 1002, 13, 50530),
    temperature=0.0,
    avg_logprob=-0.21,
    compression_ratio=1.18,
    no_speech_prob=0.012,
)
LOGPROBS = (TokenLogprob(" Hello", -0.25, (32, 72, 101, 108, 108, 111)),)


@dataclass
class Double:
    """A `Transcriber` that remembers what it was asked, and can fail or hang when told to."""

    model: ModelCard = CARD
    state: State = State.READY
    failure: Exception | None = None
    hangs: bool = False
    readable: bool = True  # whether the upload is audio
    broken_at: float | None = None  # the second at which it breaks
    segments: list[Segment] = field(default_factory=lambda: [SEGMENT])
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    audio: bytes = b""
    file: BinaryIO | None = None
    asked: list[TranscriptionOptions] = field(default_factory=list)
    admission: Admission = field(
        default_factory=lambda: Admission(windows=100, uploads=100, decoders=2)
    )

    def admit(self, user: Hashable) -> Permit:
        return self.admission.admit(user)

    async def transcribe(
        self,
        audio: BinaryIO,
        options: TranscriptionOptions,
        permit: Permit,
        listener: Listener | None = None,
    ) -> Transcript:
        self.asked.append(options)
        self.file = audio
        self.audio = audio.read()
        self.began.set()
        if listener is not None and self.readable:
            listener.began(3.32, self.broken_at)
            for segment in self.segments:
                listener.heard(SpokenSegment(segment, LOGPROBS if options.logprobs else ()))
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        if self.failure:
            raise self.failure
        return Transcript(
            options.task,
            options.language or "de",
            3.32,
            tuple(self.segments),
            LOGPROBS * len(self.segments) if options.logprobs else None,
            TokenUsage(audio_tokens=166, text_tokens=4, output_tokens=6),
            self.broken_at,
        )

    @property
    def options(self) -> TranscriptionOptions:
        """What the one request so far asked for."""
        (options,) = self.asked
        return options

    def knows_english_only(self) -> None:
        self.model = replace(self.model, id="tiny.en", languages={})


@pytest.fixture
def transcriber() -> Double:
    return Double()


@pytest.fixture
def settings() -> Settings:
    return Settings(
        _env_file=None, max_upload_bytes=3_000_000, max_prompt_chars=100, upload_timeout_seconds=5
    )


@pytest.fixture(scope="session")
def built() -> FastAPI:
    return create_app(Settings(_env_file=None), Double())


@pytest.fixture
def app(built: FastAPI, settings: Settings, transcriber: Double) -> FastAPI:
    # Building it takes a tenth of a second, too long to do for each of hundreds of tests.
    built.state.settings, built.state.transcriber = settings, transcriber
    built.state.keys = KeyRing(())
    return built


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1/") as client:
        yield client


@pytest.fixture
async def sdk(app: FastAPI) -> AsyncIterator[AsyncOpenAI]:
    transport = httpx2.ASGITransport(app)
    async with (
        httpx2.AsyncClient(transport=transport) as http_client,
        AsyncOpenAI(
            api_key="none", base_url="http://test/v1", max_retries=0, http_client=http_client
        ) as sdk,
    ):
        yield sdk


Fields = dict[str, Any]
Post = Callable[..., Any]


@pytest.fixture
def post(client: httpx.AsyncClient) -> Post:
    """Send a transcription, or the request to `to`, with these fields beside the file."""

    async def send(
        fields: Fields | None = None,
        *,
        to: str = "audio/transcriptions",
        file: Any = ("speech.wav", b"RIFF speech"),
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        data = {"model": "whisper-1"} | (fields or {})
        data = {name: value for name, value in data.items() if value is not None}
        return await client.post(to, data=data, files={"file": file}, headers=headers)

    return send


@dataclass
class RawForm:
    """A multipart body written by hand, for what no client library would send."""

    boundary: str = "frontier"
    parts: list[bytes] = field(default_factory=list)

    def text(self, name: str, value: str | bytes) -> RawForm:
        value = value.encode() if isinstance(value, str) else value
        return self.part(f'form-data; name="{name}"', value)

    def file(self, content: bytes = b"RIFF speech", name: str = "file") -> RawForm:
        return self.part(f'form-data; name="{name}"; filename="speech.wav"', content)

    def part(self, disposition: str, value: bytes) -> RawForm:
        head = f"--{self.boundary}\r\nContent-Disposition: {disposition}\r\n\r\n"
        self.parts.append(head.encode("utf-8") + value + b"\r\n")
        return self

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": f"multipart/form-data; boundary={self.boundary}"}

    @property
    def body(self) -> bytes:
        return b"".join(self.parts) + f"--{self.boundary}--\r\n".encode()


@pytest.fixture
def raw() -> RawForm:
    return RawForm().text("model", "whisper-1")


@pytest.fixture
def error_of() -> Callable[[httpx.Response], dict[str, Any]]:
    """The error object of a response, which must have OpenAI's shape to the letter."""

    def check(response: httpx.Response) -> dict[str, Any]:
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-request-id"]
        body = response.json()
        assert set(body) == {"error"}
        error = body["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        assert "Traceback" not in error["message"]
        return error

    return check
