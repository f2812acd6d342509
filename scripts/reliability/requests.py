"""One request and what came of it, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

TRANSCRIBE: Final = "/v1/audio/transcriptions"
TRANSLATE: Final = "/v1/audio/translations"
RETRIED: Final = frozenset({429, 503})
TRIES: Final = 30  # of one that is told to come again, each after the time that it is told


class WrongAnswerError(Exception):
    """An answer that came, and is not what it should be."""


@dataclass(frozen=True)
class Outcome:
    """status: of the last try. code: the error's. first: seconds to the first text of a stream."""

    status: int
    seconds: float
    code: str | None = None
    message: str = ""
    text: str = ""
    retries: int = 0
    first: float | None = None
    body: Any = field(default=None, repr=False)


class Client:
    """Asks the service with one key, over connections of its own."""

    def __init__(self, url: str, key: str | None, timeout: float = 900) -> None:
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=url, headers=self.headers, timeout=timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )  # fmt: skip

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def post(
        self, path: str, audio: bytes, fields: Mapping[str, str], *, tries: int = TRIES
    ) -> Outcome:
        """The answer; where it says to come again, that of the next try."""
        began = time.perf_counter()
        for retries in range(tries):
            try:
                outcome = await self._once(path, audio, fields)
            except httpx.RemoteProtocolError:
                if retries:
                    raise
                continue  # a kept connection that was closed at that moment: clients try again
            if outcome.status not in RETRIED or retries == tries - 1:
                break
            await asyncio.sleep(float(outcome.body.get("retry-after", 1)))
        return Outcome(
            outcome.status, time.perf_counter() - began, outcome.code, outcome.message,
            outcome.text, retries, outcome.first, outcome.body,
        )  # fmt: skip

    async def _once(self, path: str, audio: bytes, fields: Mapping[str, str]) -> Outcome:
        began = time.perf_counter()
        files = {"file": ("recording", audio)}
        data = {"model": "whisper-1", **fields}
        async with self._http.stream("POST", path, files=files, data=data) as response:
            if response.status_code != httpx.codes.OK:
                return _refusal(response, await response.aread(), time.perf_counter() - began)
            if fields.get("stream") == "true":
                return await _read_stream(response, began)
            body = await response.aread()
            seconds = time.perf_counter() - began
            return Outcome(200, seconds, text=_text(body, fields), body=response.headers)


def _refusal(response: httpx.Response, body: bytes, seconds: float) -> Outcome:
    try:
        error = json.loads(body)["error"]
        code, message = error["code"], error["message"]
    except (ValueError, LookupError):
        raise WrongAnswerError(f"{response.status_code} {body[:200]!r}") from None
    return Outcome(response.status_code, seconds, code, message, body=response.headers)


def _text(body: bytes, fields: Mapping[str, str]) -> str:
    kind = fields.get("response_format", "json")
    text = body.decode()
    if kind in {"json", "verbose_json"}:
        parsed = json.loads(body)
        text = parsed["text"]
        if kind == "verbose_json":
            _check_segments(parsed)
    elif kind == "vtt" and not text.startswith("WEBVTT\n"):
        raise WrongAnswerError(f"no WEBVTT: {text[:80]!r}")
    return text


def _check_segments(parsed: Mapping[str, Any]) -> None:
    ends = [segment["end"] for segment in parsed["segments"]]
    if ends != sorted(ends) or (ends and ends[-1] > parsed["duration"] + 0.05):
        raise WrongAnswerError(f"segments out of order or beyond the end: {ends}")


async def _read_stream(response: httpx.Response, began: float) -> Outcome:
    first, deltas, done = None, "", None
    async for line in response.aiter_lines():
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            break
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            error = event["error"]
            return Outcome(200, time.perf_counter() - began, error["code"], error["message"])
        if event["type"] == "transcript.text.delta":
            first = first or time.perf_counter() - began
            deltas += event["delta"]
        elif event["type"] == "transcript.text.done":
            done = event["text"]
    if done is None or deltas != done:
        raise WrongAnswerError(f"the deltas are {deltas[-80:]!r}, the text {str(done)[-80:]!r}")
    return Outcome(200, time.perf_counter() - began, text=done, first=first)
