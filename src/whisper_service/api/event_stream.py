"""`stream=true`: a transcript as server-sent events, while it is made."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from whisper_service import metrics
from whisper_service.api.broken import broken_header
from whisper_service.api.errors import INTERNAL_ERROR, error_body
from whisper_service.domain import SpokenSegment, Transcript
from whisper_service.errors import ServiceError
from whisper_service.formats.events import EventWriter
from whisper_service.service.contract import Listener

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 15.0  # proxies give up on a stream that is silent for a minute
_KEEP_ALIVE: Final = b": still at work\n\n"  # a comment, which every client skips
_DONE: Final = b"data: [DONE]\n\n"

Work = Callable[[Listener], Coroutine[Any, Any, Transcript]]


@dataclass(frozen=True)
class _Began:
    """The upload is audio: the answer's status is 200."""

    broken_at: float | None


class _Ended:
    """The work has, well or not."""


class _Queue(asyncio.Queue[_Began | SpokenSegment | _Ended]):
    """The listener of one transcript."""

    def began(self, duration: float, broken_at: float | None = None) -> None:  # noqa: ARG002
        self.put_nowait(_Began(broken_at))

    def heard(self, spoken: SpokenSegment) -> None:
        self.put_nowait(spoken)


class EventStream(Response):
    """The events of a transcript that is being made. Made by `begin`."""

    media_type = "text/event-stream"

    def __init__(
        self,
        request: Request,
        working: asyncio.Future[Transcript],
        queue: _Queue,
        writer: EventWriter,
        broken_at: float | None,
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(headers=headers | broken_header(broken_at))
        del self.headers["content-length"]
        self._request = request
        self._working = working
        self._queue = queue
        self._writer = writer

    @classmethod
    async def begin(cls, request: Request, work: Work, writer: EventWriter) -> EventStream:
        """Starts the work, and answers once the upload is known to be audio.

        Raises:
            Exception: what the work raised until then, so that it is answered with its own status.
        """
        queue = _Queue()
        working = asyncio.ensure_future(work(queue))
        working.add_done_callback(lambda _: queue.put_nowait(_Ended()))
        try:
            first = await queue.get()
        except asyncio.CancelledError:
            await _end(working)
            raise
        if isinstance(first, _Ended):
            working.result()  # raises
        broken_at = first.broken_at if isinstance(first, _Began) else None
        return cls(request, working, queue, writer, broken_at)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # `receive` belongs to the work, which ends when the client hangs up.
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for chunk in self._chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await _end(self._working)

    async def _chunks(self) -> AsyncIterator[bytes]:
        first = True
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    item = await self._queue.get()
            except TimeoutError:
                yield _KEEP_ALIVE
                continue
            if isinstance(item, _Ended):
                break
            if isinstance(item, SpokenSegment):
                if first:
                    waited = time.perf_counter() - self._request.state.began
                    metrics.FIRST_DELTA_SECONDS.observe(waited)
                    first = False
                yield b"".join(_data(event.to_json()) for event in self._writer.segment(item))
        try:
            done = await asyncio.to_thread(self._writer.done, self._working.result())
            yield _data(done.to_json()) + _DONE
        except ClientDisconnect:
            self._request.state.outcome = "disconnected"
        except ServiceError as error:
            yield self._error(error)
        except Exception:
            log.exception("a stream failed")
            yield self._error(INTERNAL_ERROR)

    def _error(self, error: ServiceError) -> bytes:
        """The payload at which the SDKs raise; the status was sent long ago."""
        self._request.state.outcome = error.fault.name.lower()
        return _data(json.dumps(error_body(error.fault, error.message, error.param)).encode())


def _data(payload: bytes) -> bytes:
    return b"data: %s\n\n" % payload


async def _end(working: asyncio.Future[Transcript]) -> None:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
