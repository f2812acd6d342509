"""Which of a track's packets say a time that can be believed.

A damaged number is followed by packets that know better; a gap is not. So where the clock jumps,
some packets are read ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

RESTART_SECONDS = 0.25  # a clock that goes back so far has been set back

_JUMP_SECONDS = 1.0  # a shorter gap is believed as it is
_BACK_ON_COURSE_SECONDS = 0.5  # how well a clock that jumped and came back meets the counted time
_AHEAD_PACKETS, _AHEAD_BYTES = 1500, 8 * 1024 * 1024  # 30 s of 20 ms
_MOST_RESTARTS = 3  # among those; a clock that goes back more often is none
_MOST_JUMPS = 3600  # that are looked into; gaps cannot be longer in sum than so many seconds


class PacketTimes:
    """One track's packets in order, those that are wrong about their time without it (pts None)."""

    def __init__(self, packets: Iterable[Any], tick_seconds: float) -> None:
        self._source = iter(packets)
        self._tick_seconds = tick_seconds
        self._ahead: deque[Any] = deque()
        self._due: float | None = None  # when the next packet begins, in seconds
        self._jumps = 0
        self._wrong = 0  # packets from here on whose times are wrong
        self._distrusted = False  # for good

    def __iter__(self) -> Iterator[Any]:
        while (packet := self._next()) is not None:
            self._check(packet)
            yield packet

    def _next(self) -> Any | None:
        return self._ahead.popleft() if self._ahead else next(self._source, None)

    def _check(self, packet: Any) -> None:
        time = self._seconds(packet.pts)
        if time is not None and self._wrong == 0 and not self._distrusted:
            self._look_into(packet, time)
        if self._wrong or self._distrusted:
            packet.pts = time = None
            self._wrong = max(self._wrong - 1, 0)
        if time is not None:
            self._due = time
        if self._due is not None:
            self._due += self._duration(packet)

    def _look_into(self, packet: Any, time: float) -> None:
        if self._due is not None and -RESTART_SECONDS <= time - self._due <= _JUMP_SECONDS:
            return
        if self._jumps == _MOST_JUMPS:
            return
        self._jumps += 1
        self._read_ahead()
        times = [self._seconds(later.pts) for later in self._ahead]
        self._distrusted = _restarts([time, *times]) > _MOST_RESTARTS
        if self._due is None:  # the first packet is wrong where the second is earlier
            self._wrong = _restarts([time, *times[:1]])
        else:
            self._wrong = self._until_back_on_course(self._due + self._duration(packet), times)

    def _read_ahead(self) -> None:
        held = sum(packet.size for packet in self._ahead)
        while len(self._ahead) < _AHEAD_PACKETS and held < _AHEAD_BYTES:
            packet = next(self._source, None)
            if packet is None:
                return
            self._ahead.append(packet)
            held += packet.size

    def _until_back_on_course(self, counted: float, times: list[float | None]) -> int:
        """How many packets it takes until the times are again what they would be without the jump.

        0: that does not happen, the jump is real.
        """
        for place, (later, time) in enumerate(zip(self._ahead, times, strict=True), start=1):
            if time is not None and abs(time - counted) <= _BACK_ON_COURSE_SECONDS:
                return place
            counted += self._duration(later)
        return 0

    def _seconds(self, ticks: int | None) -> float | None:
        return None if ticks is None else ticks * self._tick_seconds

    def _duration(self, packet: Any) -> float:
        return self._seconds(packet.duration) or 0.0


def _restarts(times: list[float | None]) -> int:
    """How often the clock goes back."""
    known = [time for time in times if time is not None]
    return sum(after < before - RESTART_SECONDS for before, after in pairwise(known))
