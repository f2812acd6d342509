"""What the engine is told to align, and what becomes of its answer; vLLM is played here."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from whisper_service.domain import Task
from whisper_service.engine import engine as engine_module
from whisper_service.engine.aligner import AlignmentError, AlignmentRequest
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.devices import Device
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.profiles import choose
from whisper_service.errors import Fault, ServiceError
from whisper_service.whisper.vocabulary import Vocabulary

from .whispers_rules import english_only, multilingual

PROFILE = choose("cpu", Device(None))
SECOND = np.zeros(16_000, np.float32)


class Core:
    """vLLM's client of the engine process."""

    def __init__(self, looks: np.ndarray[Any, Any] | None = None) -> None:
        self.looks = looks
        self.begun: list[list[Any]] = []
        self.hangs = False

    async def call_utility_all_async(self, utility: str, *call: Any) -> list[list[Any]]:
        method, _, args, _ = call
        assert utility == "collective_rpc"
        if self.hangs:
            await asyncio.Event().wait()
        if method == "whisper_begin_alignment":
            self.begun += args[0]
            return [[([0], 1)]]
        if method == "whisper_continue_alignment":
            assert self.looks is not None
            return [[(0.01, [[0, len(self.looks), self.looks.tobytes()]])]]
        return [[None]]


def engine_of(vocabulary: Vocabulary, core: Core) -> WhisperEngine:
    engine = WhisperEngine("m", vocabulary, PROFILE)
    engine._llm = SimpleNamespace(engine_core=core, errored=False)
    return engine


def request(tokens: tuple[int, ...], language: int = 7, task: int = NO_TOKEN) -> AlignmentRequest:
    return AlignmentRequest("key", SECOND, language, task, tokens)


async def test_the_decoder_is_given_the_references_prompt() -> None:
    vocabulary = multilingual()
    core = Core(np.eye(3, 50, dtype=np.float16))
    await engine_of(vocabulary, core).align(request((5, 6)))
    transcribe = vocabulary.task_token(Task.TRANSCRIBE)
    assert core.begun == [
        [
            "key",
            [vocabulary.start_of_transcript, 7, transcribe, vocabulary.no_timestamps, 5, 6,
             vocabulary.end_of_text],
            3,
            50,
        ]
    ]  # fmt: skip
    translate = vocabulary.task_token(Task.TRANSLATE)
    await engine_of(vocabulary, core).align(request((5, 6), task=translate))
    assert core.begun[1][1][2] == translate


async def test_an_english_only_model_knows_neither_language_nor_task() -> None:
    vocabulary = english_only()
    core = Core(np.eye(2, 50, dtype=np.float16))
    await engine_of(vocabulary, core).align(request((5,), language=NO_TOKEN))
    ((_, tokens, skip, _),) = core.begun
    assert tokens == [
        vocabulary.start_of_transcript, vocabulary.no_timestamps, 5, vocabulary.end_of_text
    ]  # fmt: skip
    assert skip == 1


async def test_times_are_seconds_at_which_each_token_begins_and_the_last_one_ends() -> None:
    looks = np.full((3, 50), -1, np.float16)
    for token, (first, last) in enumerate([(0, 10), (10, 30), (30, 50)]):
        looks[token, first:last] = 1
    times = await engine_of(multilingual(), Core(looks)).align(request((5, 6)))
    assert times == pytest.approx((0.0, 0.2, 0.6))


async def test_more_tokens_than_the_decoder_has_positions_are_refused() -> None:
    core = Core()
    with pytest.raises(AlignmentError, match="positions"):
        await engine_of(multilingual(), core).align(request((5,) * 448))
    assert core.begun == []


async def test_a_call_to_an_engine_that_dies_meanwhile_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "_WATCH_SECONDS", 0.01)
    core = Core()
    core.hangs = True
    engine = engine_of(multilingual(), core)
    answer = asyncio.ensure_future(engine.align(request((5,))))
    await asyncio.sleep(0.03)
    assert not answer.done()
    engine._llm.errored = True
    with pytest.raises(ServiceError) as failure:
        await answer
    assert failure.value.fault is Fault.ENGINE_DEAD
