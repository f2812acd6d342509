"""The engine's places go round between callers, and none is ever lost."""

from __future__ import annotations

import asyncio
import random

import pytest

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
