"""The access log and the request metrics: one line and one count for every request."""

from __future__ import annotations

import logging
import time
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_service import metrics

log = logging.getLogger("whisper_service.access")

_PATH_CHARS = 200  # of a path that a client may have made up
_OUTCOME_UNKNOWN = "error"
_PROBES = frozenset({"health", "metrics"})  # asked every few seconds; their lines would bury others


class AccessMiddleware:
    """Log and count each request when its answer is complete, streams included.

    The line has no query string, no header and no body: none of them is ours to keep.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        status = 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        scope.setdefault("state", {})["began"] = started
        try:
            with metrics.REQUESTS_IN_FLIGHT.track_inprogress():
                await self._app(scope, receive, send_noting_status)
        finally:
            _record(scope, status, time.perf_counter() - started)


def _record(scope: Scope, status: int, seconds: float) -> None:
    state = scope.get("state", {})
    route = getattr(scope.get("route"), "name", "unmatched")
    outcome = state.get("outcome", "ok" if 200 <= status < 400 else _OUTCOME_UNKNOWN)
    metrics.REQUESTS.labels(route, outcome, state.get("format", "none")).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    # Quoted, because a decoded path can hold line breaks, and with them forged log lines.
    path = quote(scope["path"][:_PATH_CHARS])
    level = logging.DEBUG if route in _PROBES else logging.INFO
    user = f" {state['user']}" if "user" in state else ""  # a key's name, never the key
    log.log(level, "%s %s %d %.1f ms%s", scope["method"], path, status, seconds * 1000, user)
