"""A request's record is its own, in every task and thread that works for it."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from whisper_service.telemetry.record import (
    RequestRecord,
    Stage,
    begin,
    current_record,
    recording,
    stage,
)


def count(name: Stage) -> float:
    labels = {"stage": name.value}
    return REGISTRY.get_sample_value("whisper_stage_duration_seconds_count", labels) or 0.0


async def test_tasks_and_threads_of_a_request_add_to_its_record() -> None:
    record = RequestRecord()

    def in_thread() -> None:
        with stage(Stage.DECODE):
            pass

    async def in_task() -> None:
        current_record().windows += 1

    with recording(record):
        await asyncio.gather(in_task(), in_task(), asyncio.to_thread(in_thread))
    assert record.windows == 2
    assert set(record.stages) == {Stage.DECODE}


async def test_requests_that_are_served_together_keep_apart() -> None:
    async def serve(windows: int) -> RequestRecord:
        record = RequestRecord()
        with recording(record):
            for _ in range(windows):
                await asyncio.sleep(0)
                current_record().windows += 1
        return record

    served = await asyncio.gather(*(serve(windows) for windows in range(5)))
    assert [record.windows for record in served] == [0, 1, 2, 3, 4]


def test_a_stage_that_comes_twice_is_summed_and_counted_twice() -> None:
    record, before = RequestRecord(), count(Stage.ALIGN)
    with recording(record):
        with stage(Stage.ALIGN):
            pass
        once = record.stages[Stage.ALIGN]
        with stage(Stage.ALIGN):
            pass
    assert record.stages[Stage.ALIGN] > once
    assert count(Stage.ALIGN) == before + 2


def test_a_stage_that_fails_took_its_time_too() -> None:
    record = RequestRecord()
    with recording(record), pytest.raises(ValueError), stage(Stage.VAD):
        raise ValueError
    assert Stage.VAD in record.stages


def test_a_stage_ends_once() -> None:
    before = count(Stage.QUEUE)
    running = begin(Stage.QUEUE)
    running.end()
    running.end()
    assert count(Stage.QUEUE) == before + 1


def test_outside_of_a_request_nothing_is_kept() -> None:
    current_record().windows += 1
    assert current_record().windows == 0
