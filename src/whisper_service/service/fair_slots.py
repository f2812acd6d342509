"""The engine's places for windows, handed out in turn to the requests that wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from whisper_service.service.fair_queue import FairQueue


class Slots(Protocol):
    """What a request sees of the engine's places."""

    def slot(self, owner: Hashable) -> AbstractAsyncContextManager[None]: ...


class FairSlots:
    """A semaphore whose waiters are served round robin: by user, and by owner within a user.

    So a recording of three hours does not make a clip of five seconds wait for its end, and
    neither do fifty of them from one user.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self.total = slots

    @property
    def running(self) -> int:
        return self.total - self._free

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, owner: Hashable, user: Hashable = None) -> AsyncIterator[None]:
        """Waits for a slot and holds it; cancelling the wait costs nobody a slot.

        Args:
            owner: the request that the slot is for.
            user: whose request it is.
        """
        await self._acquire(user, owner)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, user: Hashable, owner: Hashable) -> None:
        if self._free > 0:
            self._free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(user, owner, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release()  # it came at the same moment
            else:
                self._waiting.discard(user, owner, future)
            raise

    def _release(self) -> None:
        while (future := self._waiting.take()) is not None:
            if not future.done():
                future.set_result(None)
                return
        self._free += 1
