"""Results that come in any order are let out in the order of the audio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class InOrder(Generic[T]):
    """One list of results for each part of the work, let out as soon as all before it are out.

    The parts are numbered from 0. A part that is held lets nothing out until it is released: what
    it has may still be replaced.
    """

    def __init__(self, parts: int, let_out: Callable[[T], None]) -> None:
        self._results: list[list[T]] = [[] for _ in range(parts)]
        self._ended = [False] * parts
        self._held = [False] * parts
        self._let_out = let_out
        self._part = 0  # that results are let out of
        self._out = 0  # of its results that are out

    @property
    def results(self) -> list[T]:
        """All results, in order."""
        return [result for part in self._results for result in part]

    def add(self, part: int, result: T) -> None:
        self._results[part].append(result)
        self._advance()

    def end(self, part: int) -> None:
        """Nothing more comes of this part."""
        self._ended[part] = True
        self._advance()

    def hold(self, part: int) -> None:
        self._held[part] = True

    def release(self, part: int) -> None:
        self._held[part] = False
        self._advance()

    def restart(self, part: int) -> None:
        """Forgets the results of a part that is held: it is done anew."""
        self._results[part].clear()
        self._ended[part] = False

    def _advance(self) -> None:
        while self._part < len(self._results) and not self._held[self._part]:
            results = self._results[self._part]
            while self._out < len(results):
                self._out += 1
                self._let_out(results[self._out - 1])
            if not self._ended[self._part]:
                return
            self._part, self._out = self._part + 1, 0
