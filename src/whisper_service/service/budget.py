"""A bounded number of units that users share, of which none can take the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

_KEPT: Final = 4  # one part in so many is kept for users who hold little


class Budget:
    """Counts units by user.

    Three quarters are for whoever comes first. The last quarter is for users who hold less than
    their even share of it, so that one user, however many requests it opens, never shuts the
    others out.

    Args:
        capacity: in units.
        strict: whether nobody gets in beyond the capacity; else users who hold little still do.
    """

    def __init__(self, capacity: int, *, strict: bool = True) -> None:
        self.capacity = capacity
        self._strict = strict
        self.used = 0
        self._held: Counter[Hashable] = Counter()

    def has_room(self, user: Hashable) -> bool:
        """Whether the user may take one unit more."""
        kept = self.capacity // _KEPT
        if self.used < self.capacity - kept:
            return True
        if self._strict and self.used >= self.capacity:
            return False
        users = len(self._held.keys() | {user})
        return self._held[user] < max(1, kept // users)

    def change(self, user: Hashable, by: int) -> None:
        """Takes units, or gives them back; never refuses."""
        self.used += by
        self._held[user] += by
        if not self._held[user]:
            del self._held[user]
