"""A budget is used up by many, and never by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_service.service.budget import Budget


def taken_by(budget: Budget, user: str) -> int:
    """How much a user gets who takes one unit after the other."""
    units = 0
    while budget.has_room(user):
        budget.change(user, 1)
        units += 1
    return units


def test_one_user_gets_three_quarters() -> None:
    assert taken_by(Budget(100), "a") == 75


def test_the_last_quarter_is_shared_by_those_who_hold_little() -> None:
    budget = Budget(100)
    taken_by(budget, "greedy")
    assert taken_by(budget, "second") == 12
    assert taken_by(budget, "third") == 8
    assert taken_by(budget, "fourth") == 5
    assert not budget.has_room("greedy")


def test_nobody_gets_more_than_there_is() -> None:
    budget = Budget(100)
    for user in range(1000):
        taken_by(budget, str(user))
    assert budget.used == 100


def test_a_budget_that_one_recording_overdrew_takes_nobody_until_it_is_given_back() -> None:
    budget = Budget(8)
    budget.change("a", 20)
    assert not budget.has_room("a")
    assert not budget.has_room("b")
    budget.change("a", -13)
    assert budget.has_room("b")


def test_a_lenient_budget_still_takes_those_who_hold_little() -> None:
    budget = Budget(8, strict=False)
    budget.change("a", 20)
    assert not budget.has_room("a")
    assert taken_by(budget, "b") == 1
    assert taken_by(budget, "c") == 1


def test_a_budget_of_nothing_has_room_for_nobody() -> None:
    assert not Budget(0).has_room("a")


def test_the_smallest_budget_can_be_used() -> None:
    assert taken_by(Budget(1), "a") == 1


@given(capacity=st.integers(4, 60), order=st.lists(st.integers(0, 5), max_size=200))
def test_a_newcomer_gets_in_whatever_one_other_user_does(capacity: int, order: list[int]) -> None:
    budget = Budget(capacity)
    taken_by(budget, "greedy")
    assert budget.has_room("newcomer")
    for user in order:
        if budget.has_room(user):
            budget.change(user, 1)
        assert budget.used <= capacity
