"""The engine's places for windows, handed out in turn to the requests that wait for one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from whisper_service.service.fair_queue import FairQueue


class Slots(Protocol):
    """What a request sees of the engine's places."""

    def slot(self, owner: Hashable) -> AbstractAsyncContextManager[None]: ...


class FairSlots:
    """A semaphore whose waiters are served round robin: by user, and by owner within a user.

    So a recording of three hours does not make a clip of five seconds wait for its end, and
    neither do fifty of them from one user. The last few free places are for owners that have none
    yet: a clip begins at once, and not when one of the recording's windows has ended.
    """

    def __init__(self, slots: int, reserved: int = 0) -> None:
        """`reserved`: of the `slots`, for owners that have none yet."""
        self._free = slots
        self._reserved = reserved
        self._held: Counter[Hashable] = Counter()  # by owner
        self._waiting: FairQueue[_Waiting] = FairQueue()
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
            self._release(owner)

    async def _acquire(self, user: Hashable, owner: Hashable) -> None:
        if self._may_have(user, owner):
            self._take(owner)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(owner, future)
        self._waiting.add(user, owner, waiting)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(owner)  # it came at the same moment
            else:
                self._waiting.discard(user, owner, waiting)
            raise

    def _may_have(self, _user: Hashable, owner: Hashable) -> bool:
        return self._free > (self._reserved if self._held[owner] else 0)

    def _take(self, owner: Hashable) -> None:
        self._free -= 1
        self._held[owner] += 1

    def _release(self, owner: Hashable) -> None:
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        while (waiting := self._waiting.take(self._may_have)) is not None:
            if not waiting.came.done():
                self._take(waiting.owner)
                waiting.came.set_result(None)


@dataclass(frozen=True, eq=False)
class _Waiting:
    owner: Hashable
    came: asyncio.Future[None]
