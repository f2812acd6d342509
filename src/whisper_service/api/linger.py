"""An answer that comes before the upload has ended still reaches its client.

A socket that is closed while data is on its way into it is reset, and the reset can overtake the
answer: the client sees a broken pipe where it should have read a 401 or a 429. So what still comes
is received and thrown away, for a while, before the connection is closed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_service.api.access import count_refused_bytes


@dataclass(frozen=True)
class LingerLimits:
    """How much of a refused upload is received, and for how long."""

    bytes: int
    seconds: float
    idle_seconds: float


_END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}


class LingeringClose:
    """ASGI middleware, the outermost: it holds nothing but the connection."""

    def __init__(self, app: ASGIApp, limits: LingerLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_body(Headers(scope=scope)):
            upload = _Upload(receive, send)
            await self._app(scope, upload.receive, upload.send)
            discarded = await upload.linger(self._limits)
            count_refused_bytes(scope, discarded)
        else:
            await self._app(scope, receive, send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class _Upload:
    """One request's channels, and how far its body has come."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._received = False  # to its end
        self._lingers = False
        self._discarded = 0  # bytes

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._received = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._received:
            headers = MutableHeaders(scope=message)
            # Without a length the answer would not end before the lingering does.
            self._lingers = "content-length" in headers
            headers["connection"] = "close"
        elif self._lingers and not message.get("more_body", False):
            message = {**message, "more_body": True}  # the end would close the connection
        await self._send(message)

    async def linger(self, limits: LingerLimits) -> int:
        """Receives what still comes and throws it away; how many bytes that were."""
        if not self._lingers:
            return 0
        try:
            async with asyncio.timeout(limits.seconds):
                await self._discard(limits)
        except TimeoutError:
            pass
        await self._send(_END)
        return self._discarded

    async def _discard(self, limits: LingerLimits) -> None:
        while not self._received and self._discarded < limits.bytes:
            async with asyncio.timeout(limits.idle_seconds):
                self._discarded += len((await self.receive()).get("body", b""))
