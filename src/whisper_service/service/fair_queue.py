"""Who waits, and whose turn it is: round robin over users, and over each user's requests."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


def _anyone(_user: Hashable, _request: Hashable) -> bool:
    return True


class FairQueue(Generic[T]):
    """A queue in which a user's fifty requests wait for one another, and not others for them."""

    def __init__(self) -> None:
        self._users: OrderedDict[Hashable, OrderedDict[Hashable, deque[T]]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, user: Hashable, request: Hashable, item: T) -> None:
        requests = self._users.setdefault(user, OrderedDict())
        requests.setdefault(request, deque()).append(item)
        self._size += 1

    def discard(self, user: Hashable, request: Hashable, item: T) -> None:
        """Takes an item out before its turn; nothing happens where it is not there any more."""
        items = self._users[user].get(request) if user in self._users else None
        if items is not None and item in items:
            items.remove(item)
            self._size -= 1
            self._forget_if_empty(user, request)

    def take(self, may: Callable[[Hashable, Hashable], bool] = _anyone) -> T | None:
        """The next item of the first user and request who `may`; None: there is none.

        The user, and within it the request, go to the end of their rows.
        """
        rows = ((user, request) for user, requests in self._users.items() for request in requests)
        found = next((row for row in rows if may(*row)), None)
        if found is None:
            return None
        user, request = found
        requests = self._users[user]
        item = requests[request].popleft()
        self._size -= 1
        requests.move_to_end(request)
        self._users.move_to_end(user)
        self._forget_if_empty(user, request)
        return item

    def _forget_if_empty(self, user: Hashable, request: Hashable) -> None:
        requests = self._users[user]
        if not requests[request]:
            del requests[request]
        if not requests:
            del self._users[user]
