"""What a connection may do before there is a request, and after there is an answer.

uvicorn waits for headers without end, in time and in size, and for a client that does not read; it
answers what is no HTTP with a bare string. This is its protocol with bounds, and with errors of
OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from whisper_service.api.errors import ErrorResponse
from whisper_service.api.request_id import HEADER, new_request_id
from whisper_service.errors import Fault, ServiceError

log = logging.getLogger("whisper_service.access")

CROWDED: Final = "crowded"  # in a request's state: its connection is one too many


@dataclass(frozen=True)
class ConnectionLimits:
    connections: int  # beyond it, requests are marked as crowded
    header_seconds: float
    header_bytes: int
    send_seconds: float  # without the client taking anything


def bounded_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """The protocol class for `uvicorn.Config(http=…)`, which makes its own objects of it."""

    class Bounded(BoundedProtocol):
        bounds = limits

    return Bounded


class BoundedProtocol(H11Protocol):
    """One connection.

    On h11, because httptools takes every request that offers an upgrade for one without a body, and
    Java's own HTTP client offers one with each upload.
    """

    bounds: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting_headers()
        self._stop_send_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_timer is None and self._between_requests:
            self._expect_headers()
        self._header_bytes += len(data)
        self.app_state = self.app_state | {CROWDED: len(self.connections) > self.bounds.connections}
        previous = self.cycle
        super().data_received(data)
        if self.cycle is not previous:
            self._stop_expecting_headers()

    def send_400_response(self, msg: str) -> None:
        if self._between_requests and self._header_bytes > self.bounds.header_bytes:
            self._refuse(
                Fault.HEADERS_TOO_LARGE,
                f"The request's headers are larger than {self.bounds.header_bytes} bytes.",
            )
        else:
            self._refuse(Fault.MALFORMED_REQUEST, msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self.bounds.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_send_timer()
        super().resume_writing()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: the request goes on without the upgrade."""

    @property
    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(
            self.bounds.header_seconds,
            self._refuse,
            Fault.UPLOAD_TOO_SLOW,
            f"The request's headers took longer than {self.bounds.header_seconds:g} seconds.",
        )

    def _stop_expecting_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _refuse(self, fault: Fault, message: str) -> None:
        """Answers what is no request, and closes; an answer under way is cut off."""
        self._stop_expecting_headers()
        if self.transport.is_closing():
            return
        if self._between_requests:
            response = ErrorResponse(ServiceError(fault, message))
            request_id = new_request_id()
            log.info("no request: %d %s", response.status_code, request_id)
            self.transport.write(_as_http(response, request_id))
        self.transport.close()


def _as_http(response: ErrorResponse, request_id: str) -> bytes:
    headers = [
        *response.raw_headers,
        (b"connection", b"close"),
        (HEADER.encode(), request_id.encode()),
    ]
    lines = [b"HTTP/1.1 %d " % response.status_code, *(b"%s: %s" % pair for pair in headers)]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
