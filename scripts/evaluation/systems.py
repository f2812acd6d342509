"""The two that are compared: the running service, and faster-whisper with the same weights."""

from __future__ import annotations

import asyncio
import functools
import io
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ctranslate2
import httpx
from faster_whisper import WhisperModel

from whisper_service.checkpoints.embedded import MODELS, fetch
from whisper_service.languages import LANGUAGES

RETRIED = {429, 503}  # statuses that tell a client to come again
RETRIES = 20

Fields = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Piece:
    """A segment, as far as it is compared."""

    start: float  # seconds of the file
    end: float
    text: str
    temperature: float


@dataclass(frozen=True)
class SpokenWord:
    word: str
    start: float  # seconds of the file
    end: float
    probability: float


@dataclass(frozen=True)
class Answer:
    text: str
    language: str  # Whisper's code, "en"
    pieces: tuple[Piece, ...]
    seconds: float  # that the answer took

    @property
    def sampled(self) -> bool:
        """Whether some of it is not greedy: the fallback to a temperature above 0 was used."""
        return any(piece.temperature > 0 for piece in self.pieces)


class System(Protocol):
    @property
    def name(self) -> str: ...

    def transcribe(self, audio: bytes, language: str | None, seed: int = 0) -> Answer:
        """Transcribes a file's bytes; `language` None: find it out."""
        ...


class Peer:
    """faster-whisper: greedy, the usual fallback, its own voice activity detection."""

    name = "faster-whisper"

    def __init__(
        self, folder: Path, *, vad: bool, threads: int, device: str, compute_type: str
    ) -> None:
        self._vad = vad
        self._model = WhisperModel(
            str(folder), device=device, compute_type=compute_type, cpu_threads=threads
        )

    def transcribe(self, audio: bytes, language: str | None, seed: int = 0) -> Answer:
        ctranslate2.set_random_seed(seed)  # what is sampled in a fallback can be run again
        started = time.perf_counter()
        segments, info = self._model.transcribe(
            io.BytesIO(audio),
            language=language,
            beam_size=1,
            best_of=1,
            temperature=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            condition_on_previous_text=False,
            vad_filter=self._vad,
        )
        pieces = tuple(Piece(s.start, s.end, s.text, s.temperature) for s in segments)
        text = "".join(piece.text for piece in pieces).strip()
        return Answer(text, info.language, pieces, time.perf_counter() - started)

    def words(
        self, audio: bytes, language: str | None, *, vad: bool | None = None
    ) -> list[SpokenWord]:
        """Each word's time, with or without its voice activity detection."""
        segments, _ = self._model.transcribe(
            io.BytesIO(audio),
            language=language,
            beam_size=1,
            best_of=1,
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=self._vad if vad is None else vad,
            word_timestamps=True,
        )
        return [
            SpokenWord(word.word, float(word.start), float(word.end), float(word.probability))
            for segment in segments
            for word in segment.words or ()
        ]


class Service:
    """The running service, asked as a client would."""

    name = "whisper-service"

    def __init__(self, url: str, *, vad: bool, model: str | None, key: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.timeout = timeout
        self._vad = vad
        self._client = httpx.Client(timeout=timeout, headers=self.headers)
        self.model = model or self._first_model()

    def transcribe(self, audio: bytes, language: str | None, seed: int = 0) -> Answer:  # noqa: ARG002
        fields = {"response_format": "verbose_json"}
        if language:
            fields["language"] = language
        started = time.perf_counter()
        body = self.post(audio, fields).json()
        seconds = time.perf_counter() - started
        pieces = tuple(
            Piece(s["start"], s["end"], s["text"], s["temperature"]) for s in body["segments"]
        )
        return Answer(body["text"], language_code(body["language"]), pieces, seconds)

    def words(
        self, audio: bytes, language: str | None, *, vad: bool | None = None
    ) -> list[SpokenWord]:
        """Each word's time, with or without voice activity detection."""
        fields: dict[str, str | list[str]] = {
            "response_format": "verbose_json",
            "timestamp_granularities[]": ["word", "segment"],
        }
        if language:
            fields["language"] = language
        if vad is not None:
            fields["vad_filter"] = str(vad).lower()
        body = self.post(audio, fields).json()
        return [
            SpokenWord(word["word"], word["start"], word["end"], word["probability"])
            for segment in body["segments"]
            for word in segment["words"]
        ]

    def post(self, audio: bytes, fields: Fields) -> httpx.Response:
        response = self._client.post(self.endpoint, data=self.form(fields), files=upload(audio))
        if response.status_code != httpx.codes.OK:
            raise SystemExit(f"{response.status_code} to {fields}: {response.text}")
        return response

    async def post_beside_others(
        self, client: httpx.AsyncClient, audio: bytes, fields: Fields
    ) -> httpx.Response:
        """Posts as one client of many does: told that it is too busy, it comes again."""
        for _ in range(RETRIES):
            response = await client.post(self.endpoint, data=self.form(fields), files=upload(audio))
            if response.status_code not in RETRIED:
                break
            await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
        return response

    @property
    def endpoint(self) -> str:
        return f"{self.url}/audio/transcriptions"

    def form(self, fields: Fields) -> dict[str, str | list[str]]:
        default = {} if self._vad else {"vad_filter": "false"}
        return {"model": self.model, **default, **fields}

    def _first_model(self) -> str:
        try:
            response = self._client.get(f"{self.url}/models").raise_for_status()
        except httpx.HTTPError as error:
            raise SystemExit(f"no service answers at {self.url}: {error}") from error
        return str(response.json()["data"][0]["id"])


class Dotted:
    """A system that prints a dot for each answer, so that minutes do not pass in silence."""

    def __init__(self, system: System) -> None:
        self.name = system.name
        self._system = system

    def transcribe(self, audio: bytes, language: str | None, seed: int = 0) -> Answer:
        answer = self._system.transcribe(audio, language, seed)
        print(".", end="", file=sys.stderr, flush=True)
        return answer


def upload(audio: bytes) -> dict[str, tuple[str, bytes]]:
    return {"file": ("audio", audio)}  # no suffix: the service looks at the bytes


def language_code(name: str) -> str:
    """Whisper's code of a language that is named in English, as verbose_json does."""
    return _codes().get(name.lower(), name)


@functools.cache
def _codes() -> dict[str, str]:
    return {name: code for code, name in LANGUAGES.items()}


def embedded_peer(cache_dir: Path) -> Path:
    """The CTranslate2 folder of the service's embedded model, downloaded once and kept."""
    model = MODELS["embedded"]
    folder = cache_dir / "peer" / model.name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            fetch(model, Path(scratch, "made"))
            Path(scratch, "made").rename(folder)
    return folder
