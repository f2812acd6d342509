"""Who may come in, and how much of the service one user may hold.

The unit is the window. An accepted request counts as one until its recording is known, then as the
windows that are left of it. Nothing that was accepted is refused later: where a recording turns out
long, the *next* ones wait or are refused.

Three things are bounded, each by a `Budget` that no user can use up alone:

========  ==========================================  ===============================
budget    holds                                       when it is full
========  ==========================================  ===============================
queue     windows of all accepted requests            a new request is refused
uploads   files that are received or not yet decoded  a new request is refused
memory    windows of all recordings that are decoded  an uploaded file waits undecoded
========  ==========================================  ===============================

The queue alone can be overdrawn, by uploads that turn out longer than the one window that they
counted as. Others must not pay for that: whoever holds little of it still gets in, until one of the
other two is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from whisper_service import metrics
from whisper_service.errors import Fault, ServiceError
from whisper_service.service.budget import Budget
from whisper_service.service.fair_queue import FairQueue
from whisper_service.service.fair_slots import FairSlots, Slots

# One long recording counts as one part in so many of the queue at most: it waits its own turns,
# and must not close the door to everybody else meanwhile.
_LARGEST_PART: Final = 8


class Admission:
    """The door to the service, and the row of uploads that wait to be decoded."""

    def __init__(self, *, windows: int, uploads: int, decoders: int) -> None:
        """
        Args:
            windows: of accepted requests, those that the engine decodes included.
            uploads: files that may be on their way or on disk.
            decoders: recordings that may be decoded at the same time.
        """
        self.queue = Budget(windows, strict=False)
        self.uploads = Budget(uploads)
        self.memory = Budget(windows)
        self.accepted = 0
        self._largest = max(1, windows // _LARGEST_PART)
        self._free_decoders = decoders
        # A clip must not wait for others' hours: one place is kept free of long uploads.
        self._free_for_large = max(1, decoders - 1)
        self._small: FairQueue[_Turn] = FairQueue()
        self._large: FairQueue[_Turn] = FairQueue()
        self._idle = asyncio.Event()
        self._idle.set()

    def admit(self, user: Hashable) -> Permit:
        """Lets a request in, or refuses it at once; closing the permit gives everything back.

        Raises:
            ServiceError: OVERLOADED.
        """
        if not self.queue.has_room(user):
            raise _full("queue", "The queue is full: try again in a few seconds.")
        if not self.uploads.has_room(user):
            raise _full("uploads", "Too many uploads are under way: try again in a few seconds.")
        return Permit(self, user)

    async def idle(self) -> None:
        """Returns once no accepted request is left."""
        await self._idle.wait()

    def cost(self, windows: int) -> int:
        """What a request counts with so many windows left; it counts as one to its very end."""
        return min(max(windows, 1), self._largest)

    def count(self, by: int) -> None:
        """Requests come in and go."""
        self.accepted += by
        if self.accepted:
            self._idle.clear()
        else:
            self._idle.set()

    async def take_decoder(self, permit: Permit, *, large: bool) -> None:
        """Waits until a decoder is free, and memory for what it will give."""
        turn = _Turn(permit, asyncio.get_running_loop().create_future(), large)
        waiting = self._large if large else self._small
        waiting.add(permit.user, permit, turn)
        self.hand_out_decoders()
        try:
            await turn.came
        except asyncio.CancelledError:
            if turn.came.done() and not turn.came.cancelled():
                self.give_decoder_back(large=large)  # it came at the same moment
            else:
                waiting.discard(permit.user, permit, turn)
            raise

    def give_decoder_back(self, *, large: bool) -> None:
        self._free_decoders += 1
        self._free_for_large += large
        self.hand_out_decoders()

    def hand_out_decoders(self) -> None:
        """Whoever may decode now begins; called when a decoder or memory becomes free."""
        while self._free_decoders > 0:
            turn = self._next_turn()
            if turn is None:
                return
            if not turn.came.done():
                self._free_decoders -= 1
                self._free_for_large -= turn.large
                turn.permit.remember(1)
                turn.came.set_result(None)

    def _next_turn(self) -> _Turn | None:
        """The long ones first while they have places, so that short ones do not starve them."""
        turn = self._large.take(self._has_memory) if self._free_for_large > 0 else None
        return turn or self._small.take(self._has_memory)

    def _has_memory(self, user: Hashable, _request: Hashable) -> bool:
        return self.memory.has_room(user)


class Permit:
    """One accepted request, and what it holds.

    It counts in all three budgets from its making to `close`, which may be called more than once.
    """

    def __init__(self, admission: Admission, user: Hashable) -> None:
        self.user = user
        self._admission = admission
        self._windows_left = 1
        self._queued = 0
        self._remembered = 0
        self._uploading = True
        self._closed = False
        admission.count(1)
        admission.uploads.change(user, 1)
        self._queue(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @asynccontextmanager
    async def decoding(self, *, large: bool = False) -> AsyncIterator[None]:
        """Waits for the turn to decode this request's upload, and holds a decoder.

        Args:
            large: whether the upload may take long.
        """
        await self._admission.take_decoder(self, large=large)
        try:
            yield
        finally:
            self._admission.give_decoder_back(large=large)

    def recorded(self, windows: int) -> None:
        """The upload is decoded and its file gone; it has so many windows."""
        if not self._closed:
            self._windows_left = windows
            self._end_upload()
            cost = self._admission.cost(windows)
            self._queue(cost)
            self.remember(cost)

    def slots(self, slots: FairSlots) -> Slots:
        """The engine's places, as this request's user sees them."""
        return _PermitSlots(slots, self)

    def served(self) -> None:
        """One window less is left."""
        if not self._closed:
            self._windows_left -= 1
            self._queue(self._admission.cost(self._windows_left))

    def remember(self, units: int) -> None:
        """Counts so much in memory, where a recording's samples stay until its request ends."""
        self._admission.memory.change(self.user, units - self._remembered)
        self._remembered = units

    def close(self) -> None:
        """Gives everything back."""
        if self._closed:
            return
        self._closed = True
        self._end_upload()
        self._queue(0)
        self.remember(0)
        self._admission.count(-1)
        self._admission.hand_out_decoders()

    def _queue(self, units: int) -> None:
        self._admission.queue.change(self.user, units - self._queued)
        self._queued = units

    def _end_upload(self) -> None:
        if self._uploading:
            self._uploading = False
            self._admission.uploads.change(self.user, -1)


@dataclass(frozen=True, eq=False)
class _Turn:
    permit: Permit
    came: asyncio.Future[None]
    large: bool


class _PermitSlots:
    """Places for windows, asked for in the user's name and counted off the permit."""

    def __init__(self, slots: FairSlots, permit: Permit) -> None:
        self._slots = slots
        self._permit = permit

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        async with self._slots.slot(owner, self._permit.user):
            yield
        self._permit.served()


def _full(reason: str, message: str) -> ServiceError:
    metrics.REFUSED.labels(reason).inc()
    return ServiceError(Fault.OVERLOADED, message)
