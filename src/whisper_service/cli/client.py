"""The service's API, asked by the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, TypeVar

import httpx

_ATTEMPTS: Final = 8  # with waits of at most 30 s between them: two minutes
_LONGEST_WAIT: Final = 30.0
_AGAIN: Final = frozenset({429, 502, 503})  # it did nothing: busy, or not there yet
_PASSING: Final = frozenset({"overloaded", "not_ready", "engine_dead"})  # the same, in a stream
_TIMEOUT: Final = httpx.Timeout(30.0, read=1900.0, write=120.0)  # the service itself ends at 1800

_Result = TypeVar("_Result")


class RefusedError(Exception):
    """The service's own word on one recording."""


class UnavailableError(Exception):
    """There is no service, or it does not let us in: no other recording would fare better."""


@dataclass(frozen=True)
class Wish:
    """What is asked of every recording."""

    task: str = "transcribe"
    language: str | None = None
    prompt: str | None = None
    words: bool = False

    @property
    def streams(self) -> bool:
        return self.task == "transcribe"  # translations have no event stream

    def fields(self, model: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": model, "response_format": "verbose_json"}
        if self.prompt:
            fields["prompt"] = self.prompt
        if self.streams:
            fields["stream"] = "true"
            if self.language:
                fields["language"] = self.language
            if self.words:
                fields["timestamp_granularities[]"] = ["word", "segment"]
        return fields


class ServiceClient:
    """One service. `connect` before `transcribe`."""

    def __init__(self, url: str, key: str | None, *, pause: float = 1.0) -> None:
        """url: with or without `/v1`. pause: seconds before the first further attempt."""
        bare = url.rstrip("/")
        for end in ("/api/v1", "/v1"):
            bare = bare.removesuffix(end)
        self.url = bare
        self._pause = pause
        self._model = ""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            base_url=f"{bare}/v1/",
            headers=headers,
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def connect(self) -> str:
        """The name of the model that is served.

        Raises:
            UnavailableError: nothing answers there, it is not ready, or it refuses the key.
        """

        async def ask() -> str:
            answer = await self._http.get("models")
            _check(answer.status_code, answer.content, answer.headers)
            names = [str(each["id"]) for each in answer.json()["data"]]
            self._model = names[0]
            return names[0]

        try:
            return await self._with_patience(ask, attempts=4)
        except (RefusedError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UnavailableError(
                f"{self.url} does not answer as this service does: {error}"
            ) from error

    async def transcribe(
        self, audio: BinaryIO, name: str, wish: Wish, heard: Callable[[float], None]
    ) -> dict[str, Any]:
        """The body of `verbose_json`.

        Args:
            audio: read from its start, more than once where the service is busy.
            name: of the file, which the service does not believe.
            wish: how.
            heard: is told how many seconds of the recording are text so far.

        Raises:
            RefusedError: the service cannot transcribe this.
            UnavailableError: it cannot be reached any more.
        """

        async def ask() -> dict[str, Any]:
            audio.seek(0)
            heard(0.0)
            route = "transcriptions" if wish.streams else "translations"
            request = self._http.build_request(
                "POST",
                f"audio/{route}",
                data=wish.fields(self._model),
                files={"file": (name, audio)},
            )
            answer = await self._http.send(request, stream=True)
            try:
                if answer.status_code != 200 or not wish.streams:
                    content = await answer.aread()
                    _check(answer.status_code, content, answer.headers)
                    return dict(json.loads(content))
                return await _assemble(answer, heard)
            except (ValueError, KeyError, TypeError) as error:
                raise RefusedError(f"the answer is not one of this service's: {error!r}") from error
            finally:
                await answer.aclose()

        return await self._with_patience(ask, attempts=_ATTEMPTS)

    async def _with_patience(
        self, ask: Callable[[], Coroutine[Any, Any, _Result]], attempts: int
    ) -> _Result:
        for attempt in range(1, attempts + 1):
            try:
                return await ask()
            except (_LaterError, httpx.TransportError) as error:
                if attempt == attempts:
                    why = str(error) or type(error).__name__
                    raise UnavailableError(f"{self.url}: {why}") from error
                given = error.seconds if isinstance(error, _LaterError) else None
                doubled = self._pause * 2 ** (attempt - 1)
                await asyncio.sleep(min(doubled if given is None else given, _LONGEST_WAIT))
        raise AssertionError("unreachable")


class _LaterError(Exception):
    """The service says when to come back, or says nothing at all."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


def _check(status: int, content: bytes, headers: Mapping[str, str]) -> None:
    if status == 200:
        return
    message = _message(status, content)
    if status in _AGAIN:
        raise _LaterError(message, _seconds(headers.get("retry-after")))
    if status in (401, 403):
        raise UnavailableError(message)
    raise RefusedError(message)


def _message(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {status}"


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


async def _assemble(answer: httpx.Response, heard: Callable[[float], None]) -> dict[str, Any]:
    """verbose_json out of the events of a stream."""
    segments: list[dict[str, Any]] = []
    async for event in _events(answer):
        if "error" in event:
            message, code = event["error"]["message"], event["error"]["code"]
            raise _LaterError(message, None) if code in _PASSING else RefusedError(message)
        match event.pop("type", None):
            case "transcript.text.segment":
                segments.append(event)
                heard(float(event["end"]))
            case "transcript.text.done":
                return {
                    "task": event["task"],
                    "language": event["language"],
                    "duration": event["duration"],
                    "text": event["text"],
                    "segments": segments,
                }
    raise _LaterError("the answer broke off", None)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data and data != "[DONE]":
            yield json.loads(data)
