"""What one request came to, gathered while it is served: for its log line, metrics and spans."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from whisper_service.metrics import STAGE_SECONDS
from whisper_service.telemetry.tracing import NO_SPAN, Span


class Stage(StrEnum):
    """What a request's time goes into. But for `align` they follow one another."""

    RECEIVE = "receive"  # its body arrives
    DECODE_QUEUE = "decode_queue"  # it waits for a decoder
    DECODE = "decode"  # the upload becomes samples
    VAD = "vad"  # and what was not heard meanwhile is searched for speech
    QUEUE = "queue"  # it waits for its first place in the engine
    GENERATE = "generate"  # from there to the last window's text, later waits included
    ALIGN = "align"  # words are given their times, while others are still generated
    FORMAT = "format"  # the transcript becomes a body


@dataclass
class RequestRecord:
    """audio_seconds: of the recording; None: it was not decoded.
    windows, silent, retries: tries of the engine that were kept, were silence, were doubted.
    stages: seconds spent in each.
    """

    span: Span = NO_SPAN
    upload_bytes: int = 0
    audio_seconds: float | None = None
    windows: int = 0
    silent: int = 0
    retries: int = 0
    stages: dict[Stage, float] = field(default_factory=dict)

    def spent(self, stage: Stage, seconds: float) -> None:
        STAGE_SECONDS.labels(stage=stage.value).observe(seconds)
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds


_current: ContextVar[RequestRecord] = ContextVar("request_record")


@contextmanager
def recording(record: RequestRecord) -> Iterator[None]:
    """`record` is the current request's for as long as the block lasts, in its tasks too."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def current_record() -> RequestRecord:
    """The record of the request that is being served here; outside of one, one for nobody."""
    return _current.get(None) or RequestRecord()


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """What runs in the block is this stage of the current request."""
    running = begin(name)
    try:
        yield
    except BaseException as failure:
        running.end(failure)
        raise
    running.end()


def begin(name: Stage) -> RunningStage:
    """As `stage`, where beginning and end are in different places."""
    return RunningStage(name, current_record())


class RunningStage:
    """A stage that has begun. It ends once, whoever says so first."""

    def __init__(self, name: Stage, record: RequestRecord) -> None:
        self._name = name
        self._record = record
        self._span = record.span.child(name.value)
        self._began = time.perf_counter()
        self._ended = False

    def end(self, failure: BaseException | None = None) -> None:
        if not self._ended:
            self._ended = True
            self._record.spent(self._name, time.perf_counter() - self._began)
            self._span.end(failure)
