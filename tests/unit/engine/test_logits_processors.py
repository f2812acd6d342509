"""Both of vLLM's interfaces, behind one suite. Importing them takes seconds: see `runners`."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.parameters import RuleParameters
from whisper_service.whisper.vocabulary import Vocabulary

from .rows import assert_read_alike
from .runners import SLOTS, Request, Runner, V1Runner, V2Runner, engine_config
from .whispers_rules import decode_a_while, english_only, multilingual, read_slowly, some_logits

RUNNERS = {"V1": V1Runner, "V2": V2Runner}
either = pytest.mark.parametrize("runner_class", RUNNERS.values(), ids=[*RUNNERS])

some_rules = st.builds(
    RuleParameters,
    language=st.sampled_from((NO_TOKEN, 12, 13, 14)),
    task=st.sampled_from((NO_TOKEN, 15, 16)),
    earliest_end=st.sampled_from((NO_TOKEN, 25, 31)),
    earliest_open_end=st.sampled_from((NO_TOKEN, 26, 31)),
)
LONGEST = 40


class Batch(RuleBasedStateMachine):
    """Requests come, go, and are moved; what each may generate depends on itself alone."""

    runner_class: type[V1Runner | V2Runner]

    @initialize(vocabulary=st.sampled_from((multilingual(), english_only())), seed=st.integers(0))
    def start(self, vocabulary: Vocabulary, seed: int) -> None:
        self.vocabulary = vocabulary
        self.chance = random.Random(seed)
        self.runner: Runner = self.runner_class(vocabulary)
        self.requests: list[Request] = []

    @precondition(lambda self: len(self.requests) < SLOTS)
    @rule(
        rules=some_rules | some_rules | st.none(),
        temperature=st.sampled_from((0.0, 0.2, 1.0)),
        prompt=st.integers(1, 20),
        resumed_after=st.just(0) | st.integers(0, 12),
    )
    def add(
        self, rules: RuleParameters | None, temperature: float, prompt: int, resumed_after: int
    ) -> None:
        request = Request(rules, temperature, [18, *range(1, prompt), 11])
        request.output += decode_a_while(self.chance, self.vocabulary, request.row, resumed_after)
        self.runner.add(request)
        self.requests.append(request)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0))
    def remove(self, which: int) -> None:
        self.runner.remove(self.requests.pop(which % len(self.requests)))

    @rule()
    def shuffle(self) -> None:
        self.runner.shuffle(self.chance)

    @rule(times=st.integers(1, 8))
    def step(self, times: int) -> None:
        for _ in range(times):
            rows = self.runner.rows()
            assert {id(one) for one in rows} == {id(one) for one in self.requests}
            if rows:
                self._step(rows)

    def _step(self, rows: list[Request]) -> None:
        columns = self.vocabulary.size + self.chance.choice((0, 3))
        raw = torch.tensor([some_logits(self.chance, columns, self.vocabulary) for _ in rows])
        ruled = self.runner.rule(raw.clone())
        for index, request in enumerate(rows):
            assert_read_alike(self.vocabulary, raw[index], ruled[index], request.row)
        for index, request in enumerate(rows):
            self._generate(request, raw[index].tolist())

    def _generate(self, request: Request, logits: list[float]) -> None:
        if request.rules is None:
            token = self.chance.randrange(self.vocabulary.size)
        else:
            token = self.chance.choice(sorted(read_slowly(self.vocabulary, logits, request.row)))
        if token == self.vocabulary.end_of_text or len(request.output) == LONGEST:
            self.requests.remove(request)
            self.runner.remove(request)
        else:
            self.runner.append(request, token)


@either
def test_however_the_batch_changes_each_request_is_ruled_by_its_own_past(
    runner_class: type[V1Runner | V2Runner],
) -> None:
    machine = type("Machine", (Batch,), {"runner_class": runner_class})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None)
    )


@either
def test_a_slot_forgets_the_request_that_had_it_before(
    runner_class: type[V1Runner | V2Runner],
) -> None:
    vocabulary = multilingual()
    runner = runner_class(vocabulary)
    ours = Request(RuleParameters(13, 16), 0.2, [11], [13, 16, 22, 1, 25, 25])
    runner.add(ours)
    assert len(runner.rows()) == 1
    assert runner.rule(torch.zeros(1, 32)).isinf().any()
    runner.remove(ours)
    runner.add(Request(None, 0.2, [11], [13, 16, 22]))
    assert len(runner.rows()) == 1
    assert runner.rule(torch.zeros(1, 32)).eq(0).all()


@either
def test_the_longest_text_is_remembered_to_its_first_timestamp(
    runner_class: type[V1Runner | V2Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{V2Runner.__module__}.MAX_LENGTH", 448)
    vocabulary = multilingual()
    runner = runner_class(vocabulary)
    text = [24, *[1] * 222]  # with the next one 224: as many as a window may have
    request = Request(RuleParameters(), 0.0, [18, *[1] * 200, 11], [12, 16, *text])
    runner.add(request)
    (row,) = runner.rows()
    raw = torch.zeros(1, 32)
    assert_read_alike(vocabulary, raw[0], runner.rule(raw.clone())[0], row.row)


@either
def test_an_engine_that_was_not_started_by_the_service_is_refused(
    runner_class: type[V1Runner | V2Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = engine_config(multilingual())
    config.additional_config = {}
    monkeypatch.setattr(f"{runner_class.__module__}.engine_config", lambda _: config)
    with pytest.raises(ValueError, match="vocabulary"):
        runner_class(multilingual())


def test_greedy_decoding_is_changed_by_the_rules() -> None:
    from whisper_service.engine.logits_processor_v1 import WhisperLogitsProcessor

    processor = WhisperLogitsProcessor(engine_config(multilingual()), torch.device("cpu"), False)  # noqa: FBT003
    assert not processor.is_argmax_invariant()


@pytest.mark.parametrize(
    ("module", "interface"),
    [
        ("logits_processor_v1", "vllm.v1.sample.logits_processor"),
        ("logits_processor_v2", "vllm.v1.worker.gpu.sample.logits_processor"),
    ],
)
def test_each_processor_has_the_interface_that_its_runner_loads(
    module: str, interface: str
) -> None:
    from importlib import import_module

    processor = import_module(f"whisper_service.engine.{module}").WhisperLogitsProcessor
    assert issubclass(processor, import_module(interface).LogitsProcessor)
