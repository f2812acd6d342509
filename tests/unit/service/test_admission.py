"""What is let in, what waits, and that all of it is given back."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from whisper_service.errors import Fault, ServiceError
from whisper_service.service.admission import Admission, Permit
from whisper_service.service.fair_slots import FairSlots


def admission(**changed: int) -> Admission:
    return Admission(**{"windows": 80, "uploads": 100, "decoders": 2} | changed)


def used(door: Admission) -> tuple[int, int, int, int]:
    return door.queue.used, door.uploads.used, door.memory.used, door.accepted


def is_refused(door: Admission, user: str) -> bool:
    try:
        door.admit(user).close()
    except ServiceError as error:
        return error.fault is Fault.OVERLOADED
    return False


async def decoded(permit: Permit, windows: int) -> Permit:
    async with permit.decoding():
        pass
    permit.recorded(windows)
    return permit


async def test_a_request_counts_as_one_window_until_its_recording_is_known() -> None:
    door = admission()
    with door.admit("a") as permit:
        assert used(door) == (1, 1, 0, 1)
        async with permit.decoding():
            assert used(door) == (1, 1, 1, 1)
        permit.recorded(7)
        assert used(door) == (7, 0, 7, 1)
    assert used(door) == (0, 0, 0, 0)


async def test_the_queue_falls_with_every_window_and_memory_with_the_request() -> None:
    door, slots = admission(), FairSlots(2)
    with door.admit("a") as permit:
        await decoded(permit, 3)
        for left in (2, 1, 1, 1):
            async with permit.slots(slots).slot("request"):
                assert slots.running == 1
            assert used(door) == (left, 0, 3, 1), "a request counts as one to its end"
    assert used(door) == (0, 0, 0, 0)


async def test_a_recording_without_speech_still_counts_as_one() -> None:
    door = admission()
    with door.admit("a") as permit:
        await decoded(permit, 0)
        assert used(door) == (1, 0, 1, 1)


async def test_a_full_queue_refuses_at_once() -> None:
    door = admission()
    permits = [door.admit("a") for _ in range(60)]
    assert is_refused(door, "a")
    permits.pop().close()
    assert not is_refused(door, "a")


async def test_too_many_uploads_are_refused_even_when_the_queue_has_room() -> None:
    door = admission(uploads=4)
    permits = [door.admit(f"user {number}") for number in range(4)]
    assert is_refused(door, "one more")
    await decoded(permits[0], 5)
    assert not is_refused(door, "one more")


async def test_no_more_than_uploads_and_memory_hold_is_ever_accepted() -> None:
    door = admission(uploads=20, decoders=100)
    permits = [door.admit(f"user {number}") for number in range(20)]
    assert is_refused(door, "one more")
    for number in range(500):
        await decoded(permits.pop(0), 1)
        if is_refused(door, f"newcomer {number}"):
            break
        permits.append(door.admit(f"newcomer {number}"))
        if door.memory.used == 80:
            break
    waiting = [asyncio.create_task(decoded(permit, 1)) for permit in permits]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting), "memory is full"
    assert is_refused(door, "somebody")
    assert door.accepted == 80 + 20
    for task in waiting:
        task.cancel()


async def test_refusals_are_counted_by_reason() -> None:
    def counted(reason: str) -> float:
        return REGISTRY.get_sample_value("whisper_refused_total", {"reason": reason}) or 0.0

    before = counted("queue"), counted("uploads")
    door = admission(windows=1)
    door.admit("a")
    assert is_refused(door, "a")
    assert is_refused(admission(uploads=0), "a")
    assert (counted("queue"), counted("uploads")) == (before[0] + 1, before[1] + 1)


async def test_one_recording_of_hours_leaves_the_door_open() -> None:
    door = admission()
    await decoded(door.admit("long"), 480)
    assert door.queue.used == 10, "an eighth of the queue"
    assert not is_refused(door, "long")
    assert not is_refused(door, "short")


async def test_uploads_that_turn_out_long_leave_the_door_open_to_others() -> None:
    door = admission()
    permits = [door.admit("greedy") for _ in range(50)]
    turns = [asyncio.create_task(decoded(permit, 480)) for permit in permits]
    for _ in range(20):
        await asyncio.sleep(0)
    assert door.queue.used > 80, "it is overdrawn"
    assert is_refused(door, "greedy")
    await decoded(door.admit("modest"), 1)
    for turn in turns:
        turn.cancel()


async def test_a_user_who_opens_requests_without_end_leaves_room_for_others() -> None:
    door = admission(uploads=1000)
    opened = 0
    while not is_refused(door, "greedy"):
        await decoded(door.admit("greedy"), 480)
        opened += 1
    assert opened <= 8
    modest = await decoded(door.admit("modest"), 1)
    assert modest


async def test_an_upload_waits_undecoded_while_memory_is_full() -> None:
    door = admission()
    permits = [door.admit("a") for _ in range(7)]
    for permit in permits[:6]:
        await decoded(permit, 480)
    waiting = asyncio.create_task(decoded(permits[6], 480))
    await asyncio.sleep(0)
    assert door.memory.used == 60, "three quarters"
    await decoded(door.admit("b"), 1)
    assert not waiting.done(), "another user's clip went first"
    permits[0].close()
    await waiting
    assert door.memory.used == 61


async def test_never_more_is_decoded_at_once_than_there_are_decoders() -> None:
    door, running, most = admission(), 0, 0

    async def decodes(user: str) -> None:
        nonlocal running, most
        with door.admit(user) as permit:
            async with permit.decoding():
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1
            permit.recorded(1)

    await asyncio.gather(*(decodes(user) for user in "aaaaabbbbb"))
    assert most == 2
    assert used(door) == (0, 0, 0, 0)


@pytest.mark.parametrize(("decoders", "large_at_once"), [(1, 1), (2, 1), (4, 3)])
async def test_large_uploads_leave_a_decoder_to_small_ones(
    decoders: int, large_at_once: int
) -> None:
    door = admission(decoders=decoders)
    go_on = asyncio.Event()
    begun: list[str] = []

    async def decodes(name: str, *, large: bool) -> None:
        with door.admit(name) as permit:
            async with permit.decoding(large=large):
                begun.append(name)
                if large:
                    await go_on.wait()

    tasks = [asyncio.create_task(decodes(f"large {i}", large=True)) for i in range(6)]
    await asyncio.sleep(0.01)
    assert len(begun) == large_at_once
    tasks += [asyncio.create_task(decodes(f"small {i}", large=False)) for i in range(3)]
    await asyncio.sleep(0.01)
    assert begun[large_at_once:] == ([f"small {i}" for i in range(3)] if decoders > 1 else [])
    go_on.set()
    await asyncio.gather(*tasks)
    assert [name for name in begun if "large" in name] == [f"large {i}" for i in range(6)]


async def test_large_uploads_are_not_starved_by_small_ones() -> None:
    door = admission(decoders=2)
    begun = []

    async def decodes(name: str, *, large: bool) -> None:
        with door.admit(name) as permit:
            async with permit.decoding(large=large):
                begun.append(name)
                await asyncio.sleep(0)

    small = [decodes(f"small {i}", large=False) for i in range(20)]
    await asyncio.gather(*small, decodes("large", large=True))
    assert begun.index("large") <= 2


async def test_decoders_go_round_between_users() -> None:
    door, order = admission(decoders=1), []

    async def decodes(user: str) -> None:
        with door.admit(user) as permit:
            async with permit.decoding():
                order.append(user)
                await asyncio.sleep(0)

    await asyncio.gather(*(decodes(user) for user in "aaaab"))
    assert order.index("b") <= 2


async def test_a_decoder_that_comes_as_its_request_gives_up_goes_to_the_next() -> None:
    door = admission(decoders=1)
    entered: list[str] = []

    async def decodes(user: str) -> None:
        with door.admit(user) as permit:
            async with permit.decoding():
                entered.append(user)

    with door.admit("before") as permit:
        async with permit.decoding():
            first, second = (asyncio.create_task(decodes(user)) for user in "ab")
            await asyncio.sleep(0)
    first.cancel()  # its decoder has come already, yet it does not know
    await asyncio.gather(first, second, return_exceptions=True)
    assert entered == ["b"]
    assert used(door) == (0, 0, 0, 0)


async def test_idle_means_that_no_accepted_request_is_left() -> None:
    door = admission()
    await door.idle()
    first, second = door.admit("a"), door.admit("a")
    idle = asyncio.create_task(door.idle())
    first.close()
    first.close()
    await asyncio.sleep(0)
    assert not idle.done()
    second.close()
    await idle


async def test_a_permit_that_is_closed_counts_nothing_any_more() -> None:
    door = admission()
    permit = door.admit("a")
    permit.close()
    permit.recorded(9)
    permit.served()
    assert used(door) == (0, 0, 0, 0)


STAGES = ("upload", "decoding", "decoded", "window")


async def request(door: Admission, slots: FairSlots, user: int, windows: int, reach: dict) -> None:
    """A request that stops to wait at each stage, so that it can be cancelled there."""
    with door.admit(user) as permit:
        await reach["upload"]
        async with permit.decoding():
            await reach["decoding"]
        permit.recorded(windows)
        await reach["decoded"]
        places = permit.slots(slots)

        async def window() -> None:
            async with places.slot(permit):
                await reach["window"]

        async with asyncio.TaskGroup() as group:
            for _ in range(windows):
                group.create_task(window())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("others", [0, 3])
async def test_a_request_that_is_cancelled_at_any_stage_gives_everything_back(
    stage: str, others: int
) -> None:
    door, slots = admission(decoders=1), FairSlots(1)
    loop = asyncio.get_running_loop()

    def gates() -> dict[str, asyncio.Future[None]]:
        futures = {name: loop.create_future() for name in STAGES}
        for name in STAGES[: STAGES.index(stage)]:
            futures[name].set_result(None)
        return futures

    tasks = [
        asyncio.create_task(request(door, slots, user, 3, gates())) for user in range(1 + others)
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert door.accepted == 1 + others
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert used(door) == (0, 0, 0, 0)
    assert (slots.running, slots.queued) == (0, 0)


crowd = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(
    crowd=crowd,
    limits=st.tuples(st.integers(1, 40), st.integers(1, 10), st.integers(1, 3)),
    seed=st.integers(0, 1000),
)
def test_whatever_happens_the_counts_return_to_zero(
    crowd: list[tuple[int, int, int]], limits: tuple[int, int, int], seed: int
) -> None:
    windows, uploads, decoders = limits
    chance = random.Random(seed)

    async def ticks() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    async def play() -> None:
        door = admission(windows=windows, uploads=uploads, decoders=decoders)
        slots = FairSlots(2)

        async def one(user: int, length: int, patience: int) -> None:
            gates: Any = {name: asyncio.ensure_future(ticks()) for name in STAGES}
            task = asyncio.create_task(request(door, slots, user, length, gates))
            for _ in range(patience):
                await asyncio.sleep(0)
                assert door.uploads.used <= uploads
            if patience < 6:
                task.cancel()
            try:
                await task
            except* (asyncio.CancelledError, ServiceError):
                pass
            finally:
                await asyncio.gather(*gates.values(), return_exceptions=True)

        await asyncio.gather(*(one(*each) for each in crowd))
        assert used(door) == (0, 0, 0, 0)
        assert (slots.running, slots.queued) == (0, 0)
        with door.admit("afterwards") as permit:
            await decoded(permit, 1)

    asyncio.run(play())
