from __future__ import annotations

import asyncio

import pytest

from whisper_service.errors import Fault, ServiceError
from whisper_service.service.together import together


class Work:
    """Coroutines that count themselves."""

    def __init__(self) -> None:
        self.running = 0

    async def give(self, value: int, after: int = 1) -> int:
        self.running += 1
        try:
            for _ in range(after):
                await asyncio.sleep(0)
            return value
        finally:
            self.running -= 1

    async def hang(self) -> int:
        return await self.give(0, after=10_000)

    async def fail(self, failure: Exception, after: int = 1) -> int:
        await self.give(0, after)
        raise failure


@pytest.fixture
def work() -> Work:
    return Work()


async def test_results_come_in_order_whoever_is_first(work: Work) -> None:
    assert await together([work.give(1, 9), work.give(2), work.give(3, 4)]) == [1, 2, 3]


async def test_nothing_to_do_is_nothing() -> None:
    assert await together([]) == []


async def test_the_first_failure_is_raised_itself_and_ends_the_others(work: Work) -> None:
    failure = ServiceError(Fault.ENGINE_DEAD, "gone")
    with pytest.raises(ServiceError) as raised:
        await together([work.hang(), work.fail(KeyError("later"), 9), work.fail(failure, 2)])
    assert raised.value is failure
    assert work.running == 0


async def test_a_failure_within_a_failure_is_raised_itself(work: Work) -> None:
    async def inner() -> int:
        return sum(await together([work.hang(), work.fail(ValueError("deep"))]))

    with pytest.raises(ValueError, match="deep"):
        await together([work.hang(), inner()])
    assert work.running == 0


async def test_of_failures_at_once_one_is_raised(work: Work) -> None:
    with pytest.raises(ValueError, match="one"):
        await together([work.fail(ValueError("one")), work.fail(ValueError("two"))])


async def test_cancelling_it_cancels_all(work: Work) -> None:
    task = asyncio.create_task(together([work.hang(), work.hang()]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert work.running == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.running == 0


async def test_cancelling_it_before_it_began_leaves_nothing_behind(work: Work) -> None:
    task = asyncio.create_task(together([work.hang()]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.running == 0
