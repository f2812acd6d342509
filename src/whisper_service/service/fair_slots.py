"""The engine's places for windows, handed out in turn to the requests that wait for one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class FairSlots:
    """A semaphore whose waiters are served round robin by owner.

    So a recording of three hours does not make a clip of five seconds wait for its end.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self.total = slots

    @property
    def running(self) -> int:
        return self.total - self._free

    @property
    def queued(self) -> int:
        return sum(len(waiters) for waiters in self._waiting.values())

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        """Waits for a slot and holds it; cancelling the wait costs nobody a slot."""
        await self._acquire(owner)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, owner: Hashable) -> None:
        if self._free > 0:
            self._free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release()  # it came at the same moment
            else:
                self._forget(owner, future)
            raise

    def _forget(self, owner: Hashable, future: asyncio.Future[None]) -> None:
        waiters = self._waiting.get(owner)
        if waiters is not None and future in waiters:
            waiters.remove(future)
            if not waiters:
                del self._waiting[owner]

    def _release(self) -> None:
        while self._waiting:
            owner, waiters = next(iter(self._waiting.items()))
            future = waiters.popleft()
            if waiters:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]
            if not future.done():
                future.set_result(None)
                return
        self._free += 1
