"""Turns go round over users, and over each user's requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_service.service.fair_queue import FairQueue


def taken(queue: FairQueue[str]) -> list[str]:
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


def test_users_take_turns_and_so_do_a_users_requests() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1x", "a1y", "a1z", "a2x", "a2y", "b1x", "b1y"):
        queue.add(item[0], item[1], item)
    assert taken(queue) == ["a1x", "b1x", "a2x", "b1y", "a1y", "a2y", "a1z"]
    assert len(queue) == 0


def test_a_user_with_fifty_requests_is_one_user() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(50):
        queue.add("greedy", number, f"greedy {number}")
    queue.add("modest", 0, "modest")
    assert taken(queue).index("modest") == 1


def test_who_may_not_is_passed_over_and_keeps_the_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for user in "aab":
        queue.add(user, 0, user)
    assert queue.take(lambda user, _: user == "b") == "b"
    assert queue.take(lambda user, _: user == "b") is None
    assert taken(queue) == ["a", "a"]


def test_of_a_user_the_requests_that_may_come_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1x", "a2x", "a2y", "b1x"):
        queue.add(item[0], item[1], item)
    assert queue.take(lambda _, request: request == "2") == "a2x"
    assert queue.take(lambda _, request: request == "2") == "a2y"
    assert queue.take(lambda _, request: request == "2") is None
    assert taken(queue) == ["b1x", "a1x"]


def test_what_is_not_there_can_be_discarded() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.discard("a", 0, "x")
    queue.add("a", 0, "x")
    queue.discard("a", 1, "x")
    queue.discard("a", 0, "y")
    assert len(queue) == 1
    queue.discard("a", 0, "x")
    assert (len(queue), queue.take()) == (0, None)


entries = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30)


@given(entries=entries, discarded=st.sets(st.integers(0, 29)))
def test_everything_comes_out_once_in_the_order_of_its_request(
    entries: list[tuple[int, int]], discarded: set[int]
) -> None:
    queue: FairQueue[tuple[int, int, int]] = FairQueue()
    items = [(*entry, number) for number, entry in enumerate(entries)]
    for item in items:
        queue.add(item[0], item[1], item)
    for item in items:
        if item[2] in discarded:
            queue.discard(item[0], item[1], item)
    kept = [item for item in items if item[2] not in discarded]
    assert len(queue) == len(kept)
    out = []
    while (item := queue.take()) is not None:
        out.append(item)
    assert sorted(out) == sorted(kept)
    for request in {item[:2] for item in items}:
        assert [item for item in out if item[:2] == request] == [
            item for item in kept if item[:2] == request
        ]


@given(entries=entries)
def test_no_user_is_served_twice_while_another_waits(entries: list[tuple[int, int]]) -> None:
    queue: FairQueue[int] = FairQueue()
    for user, request in entries:
        queue.add(user, request, user)
    order = []
    while (user := queue.take()) is not None:
        order.append(user)
    for index, user in enumerate(order):
        again = next((i for i in range(index + 1, len(order)) if order[i] == user), len(order))
        waiting = set(order[again:]) - {user}
        assert waiting <= set(order[index + 1 : again])
