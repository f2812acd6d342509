"""One id for each request: on its answer, and in every log line written while it is served."""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "x-request-id"

# A client's own id goes into our log and back into a header: nothing in it may break either.
_ACCEPTABLE: Final = re.compile(r"[A-Za-z0-9._:=+/@-]{1,128}", re.ASCII)

_current: ContextVar[str] = ContextVar("request_id", default="-")


def current_request_id() -> str:
    """The id of the request that is being served here; `-` outside of one."""
    return _current.get()


def new_request_id() -> str:
    return f"req_{uuid.uuid4().hex}"


class RequestIdFilter(logging.Filter):
    """Put `request_id` on every record: add it to a handler, and name it in the format."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current_request_id()
        return True


class RequestIdMiddleware:
    """Take the client's `x-request-id` over where it is sane, else make one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        offered = Headers(scope=scope).get(HEADER, "")
        request_id = offered if _ACCEPTABLE.fullmatch(offered) else new_request_id()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = _current.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            _current.reset(token)
