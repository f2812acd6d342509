"""What decoding one window came to, for the metrics, the request's log line and its trace."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

from whisper_service.metrics import WINDOW_RETRIES, WINDOW_SECONDS, WINDOWS
from whisper_service.telemetry.record import current_record

Outcome = Literal["text", "silence", "doubted", "split"]


class WindowRecord:
    """One window's tries, from the first to the one that is kept.

    Args:
        seconds: of audio in the window.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._request = current_record()
        self._retries = 0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._span = self._request.span.child("window")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        WINDOW_SECONDS.observe(time.perf_counter() - self._began)
        self._span.note(audio_seconds=self._seconds, retries=self._retries)
        self._span.end(error)

    @property
    def trace_headers(self) -> Mapping[str, str] | None:
        """For the engine's own spans."""
        return self._span.headers

    def doubted(self, reason: str) -> None:
        """A try was not good enough, and another one follows or the window is split."""
        WINDOW_RETRIES.labels(reason=reason).inc()
        self._retries += 1
        self._request.retries += 1

    def kept(self, outcome: Outcome) -> None:
        WINDOWS.labels(outcome=outcome).inc()
        self._span.note(outcome=outcome)
        if outcome != "split":
            self._request.windows += 1
            self._request.silent += outcome == "silence"
