"""The last resort: what nobody expected still gets OpenAI's error shape."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_service.api.errors import INTERNAL_ERROR, STOPPED, ErrorResponse
from whisper_service.errors import ServiceError

log = logging.getLogger(__name__)


class FailureMiddleware:
    """Answer an unexpected exception with a 500; its traceback goes to the log only.

    A request that the stopping server cancels gets a 503, for uvicorn would write a bare string.
    """

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

        async def answer(error: ServiceError) -> None:
            scope.setdefault("state", {})["outcome"] = error.fault.name.lower()
            await ErrorResponse(error)(scope, receive, send)

        try:
            await self._app(scope, receive, send_noting_start)
        except asyncio.CancelledError:
            if not answering:
                await answer(STOPPED)
            raise
        except Exception:
            if answering:
                raise  # too late for another answer; the server cuts the connection
            log.exception("A request failed")
            await answer(INTERNAL_ERROR)
