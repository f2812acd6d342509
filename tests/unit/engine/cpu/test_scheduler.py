from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What vLLM's own says in a step is what the test passes on."""
    from vllm.v1.core.sched.scheduler import Scheduler

    from whisper_service.engine.cpu.scheduler import FinalOutputScheduler

    monkeypatch.setattr(Scheduler, "__init__", lambda self: None)
    monkeypatch.setattr(Scheduler, "update_from_output", lambda _, messages: messages)
    made = FinalOutputScheduler()  # type: ignore[call-arg]
    made.requests = {}
    return made


def asks(*, early: bool = False) -> Any:
    """A request; early: each token is waited for."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    kind = RequestOutputKind.CUMULATIVE if early else RequestOutputKind.FINAL_ONLY
    return SimpleNamespace(sampling_params=SamplingParams(output_kind=kind))


def output(name: str, *tokens: int, end: bool = False, columns: int = 2) -> Any:
    """A step's output of one request; the log-probabilities are the tokens' tenths."""
    from vllm.v1.engine import EngineCoreOutput, FinishReason
    from vllm.v1.outputs import LogprobsLists

    ids = np.array([[token] * columns for token in tokens], dtype=np.int32)
    return EngineCoreOutput(
        name,
        list(tokens),
        new_logprobs=LogprobsLists(ids, ids / np.float32(10), np.array(tokens)),
        finish_reason=FinishReason.STOP if end else None,
    )


def message(*outputs: Any, finished: set[str] | None = None) -> dict[int, Any]:
    from vllm.v1.engine import EngineCoreOutputs

    return {0: EngineCoreOutputs(outputs=list(outputs), finished_requests=finished)}


def tokens(messages: dict[int, Any]) -> list[list[int]]:
    return [one.new_token_ids for each in messages.values() for one in each.outputs]


def test_the_first_token_is_told_at_once_and_the_others_with_the_last(scheduler: Any) -> None:
    scheduler.requests = {"a": asks()}
    assert tokens(scheduler.update_from_output(message(output("a", 1)))) == [[1]]
    for token in (2, 3, 4):
        assert tokens(scheduler.update_from_output(message(output("a", token)))) == []
    (last,) = scheduler.update_from_output(message(output("a", 5, end=True)))[0].outputs
    assert last.new_token_ids == [2, 3, 4, 5]
    assert last.finished
    np.testing.assert_array_equal(last.new_logprobs.logprob_token_ids[:, 0], [2, 3, 4, 5])
    np.testing.assert_allclose(last.new_logprobs.logprobs[:, 0], [0.2, 0.3, 0.4, 0.5])
    np.testing.assert_array_equal(last.new_logprobs.sampled_token_ranks, [2, 3, 4, 5])


def test_who_waits_for_each_token_gets_it(scheduler: Any) -> None:
    scheduler.requests = {"a": asks(early=True), "b": asks()}
    scheduler.update_from_output(message(output("a", 1), output("b", 1)))
    told = scheduler.update_from_output(message(output("a", 2), output("b", 2)))
    assert tokens(told) == [[2]]


def test_a_text_of_one_token_is_told_as_it_is(scheduler: Any) -> None:
    scheduler.requests = {"a": asks()}
    only = output("a", 1, end=True)
    assert scheduler.update_from_output(message(only))[0].outputs == [only]


def test_steps_beside_a_request_that_asks_for_more_are_joined(scheduler: Any) -> None:
    scheduler.requests = {"a": asks()}
    scheduler.update_from_output(message(output("a", 1)))
    scheduler.update_from_output(message(output("a", 2, columns=5)))
    (last,) = scheduler.update_from_output(message(output("a", 3, end=True)))[0].outputs
    assert last.new_logprobs.logprobs.shape == (2, 2)


def test_what_was_kept_back_of_an_aborted_request_is_forgotten(scheduler: Any) -> None:
    scheduler.requests = {"a": asks(), "b": asks()}
    scheduler.update_from_output(message(output("a", 1), output("b", 1)))
    scheduler.update_from_output(message(output("a", 2), output("b", 2)))
    del scheduler.requests["a"]
    scheduler.update_from_output(message(output("b", 3)))
    scheduler.requests["a"] = asks()  # another of the same name
    assert tokens(scheduler.update_from_output(message(output("a", 7)))) == [[7]]
    told = scheduler.update_from_output(message(output("b", 4, end=True)))
    assert tokens(told) == [[2, 3, 4]]


def test_a_step_with_nothing_to_tell_is_told_now_and_then(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    scheduler.requests = {"a": asks()}
    assert scheduler.update_from_output(message(output("a", 1)))
    assert not scheduler.update_from_output(message(output("a", 2)))
    now = 101.0
    assert scheduler.update_from_output(message(output("a", 3))), "with the scheduler's figures"
    assert not scheduler.update_from_output(message(output("a", 4)))
    assert scheduler.update_from_output(message(finished={"b"})), "an end is always told"
