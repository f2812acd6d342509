"""Batches of windows through the worker extension's calls; the workers are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from whisper_service.domain import SAMPLE_RATE
from whisper_service.engine.aligner import Aligner, AlignmentError, AlignmentRequest
from whisper_service.errors import Fault, ServiceError

ROWS, FRAMES = 3, 50


def request(key: str, seconds: float = 1.0) -> AlignmentRequest:
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    return AlignmentRequest(key, samples, language=1, task=2, tokens=(7, 8))


def looks(key: str) -> np.ndarray[Any, np.dtype[np.float16]]:
    return np.full((ROWS, FRAMES), ord(key[-1]), np.float16)


@dataclass
class Workers:
    """One worker for each engine, which knows the windows of these keys.

    batches: the keys of each that was begun, and the parts that each call was told to do.
    poison: keys whose window makes the worker raise.
    """

    known: list[set[str]] = field(default_factory=lambda: [set("abcdefghijklmnopqrstuvwxyz")])
    poison: set[str] = field(default_factory=set)
    work: int = 4  # parts of a batch
    seconds: float = 0.01  # a part
    batches: list[list[str]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    let_go: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    failure: Exception | None = None
    left: list[int] = field(default_factory=list)
    tasks: list[list[tuple[int, str]]] = field(default_factory=list)

    async def call(self, method: str, *arguments: Any) -> list[Any]:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        answer: Callable[..., list[Any]] = getattr(self, method)
        return answer(*arguments)

    def whisper_begin_alignment(self, windows: list[list[Any]]) -> list[Any]:
        keys = [key for key, *_ in windows]
        self.batches.append(keys)
        self.tasks = [
            [(number, key) for number, key in enumerate(keys) if key in known]
            for known in self.known
        ]
        self.left = [self.work if tasks else 0 for tasks in self.tasks]
        return [([number for number, _ in tasks], len(tasks)) for tasks in self.tasks]

    def whisper_continue_alignment(self, parts: int) -> list[Any]:
        self.calls.append(parts)
        replies: list[Any] = []
        for engine, tasks in enumerate(self.tasks):
            if any(key in self.poison for _, key in tasks):
                raise RuntimeError("poison")
            done = min(parts, self.left[engine])
            self.left[engine] -= done
            finished = self.left[engine] == 0
            results = [[number, ROWS, looks(key).tobytes()] for number, key in tasks]
            replies.append((done * self.seconds, results if finished else None))
            if finished:
                self.tasks[engine] = []
        return replies

    def whisper_let_go(self, names: list[str]) -> list[Any]:
        self.let_go += names
        return [None for _ in self.known]

    async def encode(self, one: AlignmentRequest) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.encoded.append(one.key)
        self.known[0].add(one.key)

    def aligner(self) -> Aligner:
        return Aligner(self.call, lambda _: ([1, 2, 3, 7, 8, 9], 3), self.encode)


async def test_each_request_gets_its_own_windows_answer() -> None:
    workers = Workers()
    aligner = workers.aligner()
    answers = await asyncio.gather(*(aligner.align(request(key)) for key in "abc"))
    for key, answer in zip("abc", answers, strict=True):
        assert np.array_equal(answer, looks(key))
    assert sorted(workers.let_go) == ["a", "b", "c"]


async def test_what_waits_meanwhile_goes_together_but_not_too_much_of_it() -> None:
    workers = Workers()
    aligner = workers.aligner()
    keys = "abcdefghijklmnopqrst"
    await asyncio.gather(*(aligner.align(request(key)) for key in keys))
    assert [key for batch in workers.batches for key in batch] == list(keys)
    assert max(map(len, workers.batches)) == 8


async def test_calls_begin_small_and_stay_below_the_time_that_others_can_be_held_up() -> None:
    workers = Workers(work=100, seconds=0.01)
    await workers.aligner().align(request("a"))
    assert workers.calls[:2] == [2, 4]
    assert max(workers.calls) == 4  # 0.04 s
    slow = Workers(work=5, seconds=0.5)
    await slow.aligner().align(request("a"))
    assert slow.calls == [2, 1, 1, 1]


async def test_a_window_that_is_not_kept_is_encoded_again_and_nobody_waits_for_it() -> None:
    workers = Workers(known=[{"b"}], gate=asyncio.Event())
    aligner = workers.aligner()
    gone = asyncio.ensure_future(aligner.align(request("a")))
    assert np.array_equal(await aligner.align(request("b")), looks("b"))
    assert not gone.done()
    assert workers.gate is not None
    workers.gate.set()
    assert np.array_equal(await gone, looks("a"))
    assert workers.encoded == ["a"]


class Busy(Workers):
    """Encodes again what was gone once others have begun to be aligned."""

    def whisper_begin_alignment(self, windows: list[list[Any]]) -> list[Any]:
        if len(self.batches) == 1 and self.gate is not None:
            self.gate.set()
        return super().whisper_begin_alignment(windows)


async def test_a_window_that_was_encoded_again_is_aligned_next() -> None:
    """Others that are encoded meanwhile would take the place of its output."""
    workers = Busy(known=[set("bcdefghijklmnopqrstuvwxyz")], gate=asyncio.Event())
    aligner = workers.aligner()
    others = "bcdefghijklmnopqrstuvwxyz"
    await asyncio.gather(*(aligner.align(request(key)) for key in f"a{others}"))
    again = [place for place, keys in enumerate(workers.batches) if "a" in keys]
    assert again == [0, 2]
    assert workers.batches[2][0] == "a"


async def test_a_window_that_is_gone_at_once_again_is_given_up() -> None:
    workers = Workers(known=[set()])

    async def encode_for_nothing(one: AlignmentRequest) -> None:
        workers.encoded.append(one.key)

    aligner = Aligner(workers.call, lambda _: ([1], 0), encode_for_nothing)
    with pytest.raises(AlignmentError, match="not there"):
        await aligner.align(request("a"))
    assert workers.encoded == ["a"]


async def test_of_several_engines_the_one_that_has_the_window_answers() -> None:
    workers = Workers(known=[{"a"}, {"b", "c"}, set()])
    aligner = workers.aligner()
    answers = await asyncio.gather(*(aligner.align(request(key)) for key in "abc"))
    assert [float(answer[0, 0]) for answer in answers] == [ord(key) for key in "abc"]
    assert workers.encoded == []


async def test_a_window_that_makes_the_worker_raise_takes_none_with_it() -> None:
    workers = Workers(poison={"b"})
    aligner = workers.aligner()
    answers = await asyncio.gather(
        *(aligner.align(request(key)) for key in "abc"), return_exceptions=True
    )
    assert isinstance(answers[1], AlignmentError)
    assert "poison" in str(answers[1])
    assert [float(answers[i][0, 0]) for i in (0, 2)] == [ord("a"), ord("c")]  # type: ignore[index]
    assert np.array_equal(await aligner.align(request("d")), looks("d"))


async def test_a_dead_engine_is_every_requests_failure() -> None:
    workers = Workers(failure=ServiceError(Fault.ENGINE_DEAD, "dead"))
    aligner = workers.aligner()
    answers = await asyncio.gather(
        *(aligner.align(request(key)) for key in "ab"), return_exceptions=True
    )
    assert all(isinstance(answer, ServiceError) for answer in answers)


async def test_who_gave_up_costs_nobody_anything() -> None:
    workers = Workers()
    aligner = workers.aligner()
    waiting = [asyncio.ensure_future(aligner.align(request(key))) for key in "abc"]
    await asyncio.sleep(0)
    waiting[1].cancel()
    assert np.array_equal(await waiting[0], looks("a"))
    assert np.array_equal(await waiting[2], looks("c"))
    assert waiting[1].cancelled()
    assert np.array_equal(await aligner.align(request("d")), looks("d"))


async def test_stopping_leaves_nobody_waiting() -> None:
    workers = Workers(known=[set()], gate=asyncio.Event())
    aligner = workers.aligner()
    waiting = [asyncio.ensure_future(aligner.align(request(key))) for key in "abcdefghijkl"]
    for _ in range(5):
        await asyncio.sleep(0)
    await aligner.stop()
    done, pending = await asyncio.wait(waiting, timeout=1)
    assert not pending
    assert all(each.cancelled() or each.exception() for each in done)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.001, 1), (0.02, 1), (0.039, 1), (1.0, 50), (30.0, 1500)]
)
def test_every_position_with_audio_counts(seconds: float, frames: int) -> None:
    assert request("a", seconds).frames == frames
