"""The engine's places as one request asks for them, and what the waiting costs it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from whisper_service.metrics import WINDOW_WAIT_SECONDS
from whisper_service.service.fair_slots import Slots
from whisper_service.telemetry.record import RunningStage, Stage, begin


class TimedSlots:
    """`slots`, timed: the request queues until its first window has a place, then it generates."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._stage: RunningStage

    def __enter__(self) -> Self:
        self._stage, self._queued = begin(Stage.QUEUE), True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stage.end(error)

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        began = time.perf_counter()
        async with self._slots.slot(owner):
            WINDOW_WAIT_SECONDS.observe(time.perf_counter() - began)
            if self._queued:
                self._queued = False
                self._stage.end()
                self._stage = begin(Stage.GENERATE)
            yield
