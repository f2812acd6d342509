"""Which of several engines gets a window: vLLM's data parallelism, with tries that stay together.

vLLM shares requests out by itself, but knows nothing of a window's tries. The encoder's output is
kept by the engine that made it, so the next try belongs there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager


class EngineRanks:
    """Gives a window to the engine with the fewest, and its later tries to the same one."""

    def __init__(self, engines: int, remembered: int) -> None:
        """`remembered`: windows whose engine is known for a further try, of all engines."""
        self._running = [0] * engines
        self._remembered = remembered
        self._of_window: OrderedDict[str, int] = OrderedDict()

    @contextmanager
    def place(self, window: str) -> Iterator[int]:
        """The engine's rank for a try of the window with this key; it is busy within the block."""
        rank = self._of_window.pop(window, None)
        if rank is None:
            rank = self._running.index(min(self._running))
        self._of_window[window] = rank
        while len(self._of_window) > self._remembered:
            self._of_window.popitem(last=False)
        self._running[rank] += 1
        try:
            yield rank
        finally:
            self._running[rank] -= 1
