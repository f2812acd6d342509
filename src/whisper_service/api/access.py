"""The access log and the request metrics: one line and one count for every request."""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_service import metrics
from whisper_service.errors import Fault
from whisper_service.telemetry.record import RequestRecord, recording
from whisper_service.telemetry.tracing import NO_SPAN, Span, start_request_span

log = logging.getLogger("whisper_service.access")

_PATH_CHARS = 200  # of a path that a client may have made up
_OUTCOME_UNKNOWN = "error"
_PROBES = frozenset({"health", "metrics"})  # asked every few seconds; their lines would bury others
_PROBE_PATHS = ("/health/", "/metrics")
_WORK = frozenset({"transcriptions", "translations"})
_FAULTS = frozenset(fault.name.lower() for fault in Fault)


class AccessMiddleware:
    """Log, count and trace each request when its answer is complete, streams included.

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
        record = RequestRecord(span=_span_of(scope))
        try:
            with metrics.REQUESTS_IN_FLIGHT.track_inprogress(), recording(record):
                await self._app(scope, receive, send_noting_status)
        finally:
            _conclude(scope, status, time.perf_counter() - started, record)


def _span_of(scope: Scope) -> Span:
    if scope["path"].startswith(_PROBE_PATHS):
        return NO_SPAN
    return start_request_span(scope["method"], Headers(scope=scope))


def _conclude(scope: Scope, status: int, seconds: float, record: RequestRecord) -> None:
    state = scope.get("state", {})
    route = getattr(scope.get("route"), "name", "unmatched")
    outcome = state.get("outcome", "ok" if 200 <= status < 400 else _OUTCOME_UNKNOWN)
    response_format = state.get("format", "none")
    metrics.REQUESTS.labels(route, outcome, response_format).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    if route in _WORK and outcome in _FAULTS:
        metrics.UPLOADS_REFUSED.labels(outcome).inc()
        count_refused_bytes(scope, record.upload_bytes)
    record.span.note_http(scope["method"], route, status)
    record.span.note(outcome=outcome, format=response_format, **_work_of(record))
    record.span.end()
    _log(scope, route, status, seconds, outcome, record)


def count_refused_bytes(scope: Scope, received: int) -> None:
    """Counts bytes that came for a request that was refused, where this one was."""
    outcome = scope.get("state", {}).get("outcome")
    if received and outcome in _FAULTS:
        metrics.UPLOADS_REFUSED_BYTES.labels(outcome).inc(received)


def _log(
    scope: Scope, route: str, status: int, seconds: float, outcome: str, record: RequestRecord
) -> None:
    level = logging.DEBUG if route in _PROBES else logging.INFO
    if not log.isEnabledFor(level):
        return
    # Quoted, because a decoded path can hold line breaks, and with them forged log lines.
    path = quote(scope["path"][:_PATH_CHARS])
    state = scope.get("state", {})
    fields: dict[str, Any] = {"outcome": outcome}
    if "user" in state:
        fields["user"] = state["user"]  # a key's name, never the key
    fields |= {"format": state["format"]} if "format" in state else {}
    fields |= _work_of(record)
    fields |= {f"{stage}_seconds": round(spent, 4) for stage, spent in record.stages.items()}
    if record.span.trace_id is not None:
        fields["trace_id"] = record.span.trace_id
    log.log(
        level,
        "%s %s %d %.1f ms",
        scope["method"],
        path,
        status,
        seconds * 1000,
        extra={
            "fields": fields,
            "request": {
                "method": scope["method"],
                "path": path,
                "status": status,
                "seconds": round(seconds, 4),
            },
        },
    )


def _work_of(record: RequestRecord) -> dict[str, int | float]:
    """Numbers only: nothing of what was said."""
    work: dict[str, int | float] = {}
    if record.upload_bytes:
        work["upload_bytes"] = record.upload_bytes
    if record.audio_seconds is not None:
        work["audio_seconds"] = round(record.audio_seconds, 3)
        work |= {"windows": record.windows, "silent": record.silent, "retries": record.retries}
    return work
