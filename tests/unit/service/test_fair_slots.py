"""The engine's places go round between callers, and none is ever lost."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.service.fair_slots import FairSlots


async def test_never_more_windows_run_than_there_are_slots() -> None:
    slots = FairSlots(3)
    most = 0

    async def window(owner: int) -> None:
        nonlocal most
        async with slots.slot(owner):
            most = max(most, slots.running)
            await asyncio.sleep(0)

    await asyncio.gather(*(window(index % 4) for index in range(50)))
    assert most == 3
    assert (slots.running, slots.queued) == (0, 0)


async def test_a_short_file_does_not_wait_for_a_long_one() -> None:
    slots = FairSlots(1)
    served: list[str] = []

    async def window(owner: str) -> None:
        async with slots.slot(owner):
            served.append(owner)
            await asyncio.sleep(0)

    long_file = [asyncio.create_task(window("long")) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(*long_file, asyncio.create_task(window("short")))
    assert served.index("short") <= 3


@pytest.mark.parametrize("seed", range(20))
async def test_callers_who_give_up_cost_nobody_a_slot(seed: int) -> None:
    chance = random.Random(seed)
    slots = FairSlots(2)

    async def window(owner: int) -> None:
        async with slots.slot(owner):
            await asyncio.sleep(chance.random() / 500)

    tasks = [asyncio.create_task(window(index % 5)) for index in range(40)]
    for task in tasks:
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() / 500)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (slots.running, slots.queued) == (0, 0)


async def test_owners_are_served_in_turn_however_many_windows_each_has() -> None:
    slots = FairSlots(1)
    served: list[str] = []

    async def window(owner: str) -> None:
        async with slots.slot(owner):
            served.append(owner)

    async with slots.slot("before"):
        waiting = [asyncio.create_task(window(owner)) for owner in "aaaabbcaa"]
        await asyncio.sleep(0)
        assert slots.queued == 9
    await asyncio.gather(*waiting)
    assert "".join(served) == "abcabaaaa"


async def test_a_user_with_fifty_requests_gets_no_more_turns_than_one_with_a_clip() -> None:
    slots = FairSlots(1)
    served: list[str] = []

    async def window(owner: object, user: str) -> None:
        async with slots.slot(owner, user):
            served.append(user)

    async with slots.slot("before"):
        requests = [object() for _ in range(50)]
        greedy = [asyncio.create_task(window(each, "greedy")) for each in requests * 3]
        await asyncio.sleep(0)
        modest = [asyncio.create_task(window("clip", "modest")) for _ in range(2)]
        await asyncio.sleep(0)
    await asyncio.gather(*greedy, *modest)
    assert [index for index, user in enumerate(served) if user == "modest"] == [1, 3]


async def test_a_failing_window_gives_its_slot_back() -> None:
    slots = FairSlots(1)
    with pytest.raises(KeyError):
        async with slots.slot("a"):
            raise KeyError
    assert slots.running == 0


async def test_a_slot_that_comes_as_its_caller_gives_up_goes_to_the_next() -> None:
    slots = FairSlots(1)
    entered: list[str] = []

    async def window(owner: str) -> None:
        async with slots.slot(owner):
            entered.append(owner)

    async with slots.slot("before"):
        first, second = (asyncio.create_task(window(owner)) for owner in "ab")
        await asyncio.sleep(0)
    first.cancel()  # its slot has come already, yet it does not know
    await asyncio.gather(first, second, return_exceptions=True)
    assert entered == ["b"]
    assert (slots.running, slots.queued) == (0, 0)


async def test_the_last_places_are_for_those_who_have_none() -> None:
    slots = FairSlots(4, reserved=1)
    end = asyncio.Event()

    async def window(owner: str) -> None:
        async with slots.slot(owner):
            await end.wait()

    long_file = [asyncio.create_task(window("long")) for _ in range(6)]
    await asyncio.sleep(0)
    assert (slots.running, slots.queued) == (3, 3)
    clips = [asyncio.create_task(window(owner)) for owner in ("clip", "another")]
    await asyncio.sleep(0)
    assert (slots.running, slots.queued) == (4, 4)  # one clip has begun
    end.set()
    await asyncio.gather(*long_file, *clips)
    assert (slots.running, slots.queued) == (0, 0)


async def test_a_place_that_becomes_free_goes_to_one_who_has_none_first() -> None:
    slots = FairSlots(3, reserved=1)
    entered: list[str] = []

    async def window(owner: str, end: asyncio.Event) -> None:
        async with slots.slot(owner):
            entered.append(owner)
            await end.wait()

    first, later = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(window("clip", first))]
    tasks += [asyncio.create_task(window("long", later)) for _ in range(4)]
    await asyncio.sleep(0)
    assert entered == ["clip", "long"]  # a second one would take the last place
    tasks.append(asyncio.create_task(window("another", later)))
    await asyncio.sleep(0)
    first.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert entered == ["clip", "long", "another", "long"][: len(entered)]
    assert "another" in entered
    later.set()
    await asyncio.gather(*tasks)
    assert entered.count("long") == 4
    assert (slots.running, slots.queued) == (0, 0)


@dataclass(eq=False)
class Caller:
    task: asyncio.Task[None]
    leaves: asyncio.Event


class Crowd:
    """Callers who come, leave and give up."""

    def __init__(self, total: int, reserved: int = 0) -> None:
        self.slots = FairSlots(total, reserved)
        self.reserved = reserved
        self.callers: list[Caller] = []

    async def _visit(self, owner: int, leaves: asyncio.Event) -> None:
        async with self.slots.slot(owner):
            await leaves.wait()

    def comes(self, owner: int) -> None:
        leaves = asyncio.Event()
        self.callers.append(Caller(asyncio.create_task(self._visit(owner, leaves)), leaves))

    def goes(self, index: int, *, by_force: bool) -> None:
        if self.callers:
            caller = self.callers.pop(index % len(self.callers))
            if by_force:
                caller.task.cancel()
            caller.leaves.set()

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        most = min(self.slots.total, self.present)
        assert most - self.reserved <= self.slots.running <= most
        assert self.slots.running > 0 or not self.present
        assert self.slots.queued == self.present - self.slots.running

    @property
    def present(self) -> int:
        tasks = (task for task in asyncio.all_tasks() if task is not asyncio.current_task())
        return sum(not task.done() for task in tasks)


moves = st.lists(
    st.tuples(st.sampled_from(("comes", "comes", "leaves", "gives up")), st.integers(0, 3)),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(total=st.integers(1, 4), reserved=st.integers(0, 2), moves=moves, patience=st.integers(0, 5))
def test_whoever_comes_and_goes_no_slot_is_lost_and_none_is_idle(
    total: int, reserved: int, moves: list[tuple[str, int]], patience: int
) -> None:
    async def play() -> None:
        crowd = Crowd(total, min(reserved, total - 1))
        for index, (move, number) in enumerate(moves):
            if move == "comes":
                crowd.comes(number)
            else:
                crowd.goes(number, by_force=move == "gives up")
            if index % (patience + 1) == 0:
                await crowd.settle()
        for caller in crowd.callers:
            caller.leaves.set()
        await asyncio.gather(*(caller.task for caller in crowd.callers))
        await crowd.settle()
        assert (crowd.slots.running, crowd.slots.queued) == (0, 0)

    asyncio.run(play())
