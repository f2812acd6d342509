"""The worker's part of alignment, beside a tiny model; vLLM's runner is played here."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from whisper_service.engine import worker_extension
from whisper_service.engine.alignment_pass import AlignmentPass, TextInWindow
from whisper_service.engine.parameters import name_args
from whisper_service.engine.worker_extension import WhisperWorkerExtension

from .tiny_decoder import HEADS, LAYERS, POSITIONS, WIDTH, as_vllms, tiny_whisper

TOKENS = [3, 4, 5, 6, 10, 11, 12, 2]
SKIP = 3
MEL, FRAMES = 8, 2 * POSITIONS


class Model:
    def __init__(self) -> None:
        self.whisper = tiny_whisper()
        self.model = SimpleNamespace(decoder=as_vllms(self.whisper))
        self.encoded = 0

    def embed_multimodal(self, **inputs: Any) -> tuple[Tensor, ...]:
        features = inputs["input_features"]
        self.encoded += len(features)
        with torch.inference_mode():
            return tuple(self.whisper.model.encoder(features).last_hidden_state.unbind())


@dataclass
class Runner:
    """Encodes what is newly scheduled, as both of vLLM's runners do."""

    model: Model = field(default_factory=Model)

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> str:
        features = [
            each.data["input_features"].data
            for request in scheduler_output.scheduled_new_reqs
            for each in request.mm_features
            if each.data is not None
        ]
        if features:
            self.model.embed_multimodal(input_features=torch.stack(features))
        return "executed"


class Worker(WhisperWorkerExtension):
    def __init__(self) -> None:
        self.model_runner = Runner()


def features(seed: int) -> Tensor:
    return torch.randn(MEL, FRAMES, generator=torch.Generator().manual_seed(seed))


def scheduled(*requests: tuple[str | None, Tensor | None]) -> Any:
    """A step's new requests: the name that each asks for, and its features."""
    return SimpleNamespace(
        scheduled_new_reqs=[
            SimpleNamespace(
                sampling_params=SimpleNamespace(extra_args=name_args(name) if name else None),
                mm_features=[
                    SimpleNamespace(
                        data=None
                        if data is None
                        else {"input_features": SimpleNamespace(data=data)}
                    )
                ],
            )
            for name, data in requests
        ]
    )


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(worker_extension, "_rank", lambda: 0)
    monkeypatch.setattr(worker_extension, "_summed_over_ranks", lambda weights: weights)
    worker = Worker()
    worker.whisper_keep_encoder_outputs(2, 4)
    worker.whisper_use_alignment_heads([[1, 0], [2, 3]])
    return worker


def align(worker: Worker, *names: str, parts: int = 1000) -> dict[int, Any]:
    windows = [[name, TOKENS, SKIP, POSITIONS - index] for index, name in enumerate(names)]
    worker.whisper_begin_alignment(windows)
    for _ in range(1000):
        _, results = worker.whisper_continue_alignment(parts)
        if results is not None:
            return {
                number: np.frombuffer(weights, np.float16).reshape(rows, -1)
                for number, rows, weights in results
            }
    raise AssertionError("it did not come to an end")


def test_a_named_window_is_aligned_on_what_the_encoder_gave_for_it(worker: Worker) -> None:
    runner = worker.model_runner
    assert runner.execute_model(scheduled((None, features(1)), ("a", features(2)))) == "executed"
    found = align(worker, "a")[0]
    assert found.shape == (len(TOKENS) - SKIP - 1, POSITIONS)

    (encoded,) = Model.embed_multimodal(runner.model, input_features=features(2)[None])
    work = AlignmentPass(
        runner.model.model.decoder, {1: [0], 2: [3]}, [TextInWindow(encoded, TOKENS, 3, POSITIONS)]
    )
    with torch.inference_mode():
        assert list(work.parts())
    expected = work.weights[0][SKIP:-1].numpy()
    assert np.allclose(found, expected, atol=0.02)
    assert runner.model.encoded == 3


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_in_however_many_calls_it_is_done_the_result_is_the_same(
    worker: Worker, parts: int
) -> None:
    worker.model_runner.execute_model(scheduled(("a", features(1)), ("b", features(2))))
    whole = align(worker, "a", "b")
    pieces = align(worker, "a", "b", parts=parts)
    assert [each.shape[1] for each in whole.values()] == [POSITIONS, POSITIONS - 1]
    for number, weights in whole.items():
        assert np.array_equal(weights, pieces[number])


def test_windows_that_are_not_there_are_told_and_the_others_aligned(worker: Worker) -> None:
    worker.model_runner.execute_model(scheduled(("b", features(2)), (None, features(3))))
    windows = [[name, TOKENS, SKIP, POSITIONS] for name in ("a", "b", "c")]
    assert worker.whisper_begin_alignment(windows) == ([1], 2)
    assert [*align(worker, "a", "b", "c")] == [1]
    assert align(worker, "a") == {}


def test_a_window_that_is_let_go_of_is_gone(worker: Worker) -> None:
    worker.model_runner.execute_model(scheduled(("a", features(1))))
    worker.whisper_let_go(["a", "never"])
    assert align(worker, "a") == {}


def test_requests_without_a_name_or_without_features_are_as_ever(worker: Worker) -> None:
    worker.model_runner.execute_model(scheduled((None, features(1)), ("gone", None)))
    worker.model_runner.execute_model(SimpleNamespace(scheduled_new_reqs=[]))
    assert align(worker, "gone") == {}
    assert worker.whisper_encoder_cache_counts()["windows"] == 1


def test_a_batch_that_fails_does_not_spoil_the_next(worker: Worker) -> None:
    worker.model_runner.execute_model(scheduled(("a", features(1))))
    worker.whisper_begin_alignment([["a", [10_000_000], 0, POSITIONS]])
    with pytest.raises(IndexError):
        worker.whisper_continue_alignment(1)
    assert align(worker, "a")[0].shape == (len(TOKENS) - SKIP - 1, POSITIONS)


def test_without_named_heads_all_of_the_upper_half_of_the_layers_count(worker: Worker) -> None:
    worker.whisper_use_alignment_heads([])
    upper = range(LAYERS // 2, LAYERS)
    assert worker._whisper_heads == {layer: [*range(HEADS)] for layer in upper}


def test_a_worker_that_was_told_nothing_says_so() -> None:
    worker = Worker()
    with pytest.raises(RuntimeError, match="alignment heads"):
        worker.whisper_begin_alignment([])
    assert worker.whisper_continue_alignment(1) == (0.0, [])
    worker.whisper_let_go(["a"])


def test_the_tiny_models_width_is_that_of_its_encoder(worker: Worker) -> None:
    (encoded,) = worker.model_runner.model.embed_multimodal(input_features=features(1)[None])
    assert encoded.shape == (POSITIONS, WIDTH)
