"""The last resort: what nobody expected still gets OpenAI's error shape."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_service.api.errors import INTERNAL_ERROR, ErrorResponse

log = logging.getLogger(__name__)


class FailureMiddleware:
    """Answer an unexpected exception with a 500; its traceback goes to the log only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        answering = False

        async def send_noting_start(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except Exception:
            if answering:
                raise  # too late for another answer; the server cuts the connection
            log.exception("A request failed")
            scope.setdefault("state", {})["outcome"] = INTERNAL_ERROR.fault.name.lower()
            await ErrorResponse(INTERNAL_ERROR)(scope, receive, send)
