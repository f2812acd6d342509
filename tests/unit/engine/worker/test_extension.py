"""The worker's part of alignment, beside the model class; its encoder and decoder are tiny ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unit.engine.tiny_decoder import HEADS, LAYERS, POSITIONS, WIDTH, as_vllms, tiny_whisper
from whisper_service.engine.parameters import ModelOptions, WindowName
from whisper_service.engine.worker import extension
from whisper_service.engine.worker.alignment_pass import AlignmentPass, TextInWindow
from whisper_service.engine.worker.encoder_cache import EncoderCache
from whisper_service.engine.worker.extension import WhisperWorkerExtension

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports

TOKENS = [3, 4, 5, 6, 10, 11, 12, 2]
SKIP = 3
MEL = 8


class Inner:
    """The encoder and decoder that vLLM's model holds."""

    def __init__(self) -> None:
        self.whisper = tiny_whisper()
        self.decoder = as_vllms(self.whisper)

    def get_encoder_outputs(self, features: Tensor) -> Tensor:
        with torch.inference_mode():
            encoder = self.whisper.model.encoder
            output: Tensor = encoder(features[..., : 2 * POSITIONS]).last_hidden_state
            return output


def model_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ours; what of vLLM's needs a configuration and its process groups is played here."""
    from whisper_service.engine.worker import model

    def init(self: Any, **_: Any) -> None:
        nn.Module.__init__(self)
        self.config = SimpleNamespace(
            num_mel_bins=MEL, decoder_layers=LAYERS, decoder_attention_heads=HEADS
        )
        self.dtype = torch.float32
        self.model = Inner()

    monkeypatch.setattr(model.WhisperForConditionalGeneration, "__init__", init)
    monkeypatch.setattr(model, "get_tensor_model_parallel_rank", lambda: 0)
    return model.WhisperServiceForConditionalGeneration


def make_model(monkeypatch: pytest.MonkeyPatch, options: ModelOptions) -> Any:
    config = SimpleNamespace(
        additional_config=options.as_config(), scheduler_config=SimpleNamespace(max_num_seqs=2)
    )
    return model_class(monkeypatch)(vllm_config=config)


class Worker(WhisperWorkerExtension):
    def __init__(self, model: Any) -> None:
        # `model` may be a wrapper, with CUDA graphs.
        self.model_runner = SimpleNamespace(model=object(), get_model=lambda: model)


def encode(worker: Worker, *windows: tuple[str | None, int]) -> list[Tensor]:
    """A step with these windows: their names, and the seeds of their samples."""
    from whisper_service.engine.worker.processor import pack

    names = [WindowName(key, is_aligned_later=True).as_uuid() if key else "" for key, _ in windows]
    noise = [np.random.default_rng(seed).normal(0, 0.1, 16_000 + seed) for _, seed in windows]
    packed = [pack(each.astype(np.float32)) for each in noise]
    model = worker.model_runner.get_model()
    outputs: list[Tensor] = model.embed_multimodal(
        samples=[samples for samples, _ in packed],
        scales=torch.tensor([scale for _, scale in packed]),
        names=[torch.tensor([*name.encode()], dtype=torch.uint8) for name in names],
    )
    return outputs


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(extension, "_summed_over_ranks", lambda weights: weights)
    return Worker(make_model(monkeypatch, ModelOptions(2, ((1, 0), (2, 3)))))


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
    _, encoded = encode(worker, (None, 1), ("a", 2))
    assert encoded.shape == (POSITIONS, WIDTH)
    found = align(worker, "a")[0]
    assert found.shape == (len(TOKENS) - SKIP - 1, POSITIONS)

    decoder = worker.model_runner.get_model().model.decoder
    work = AlignmentPass(decoder, {1: [0], 2: [3]}, [TextInWindow(encoded, TOKENS, 3, POSITIONS)])
    with torch.inference_mode():
        assert list(work.parts())
    assert np.allclose(found, work.weights[0][SKIP:-1].numpy(), atol=0.02)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_in_however_many_calls_it_is_done_the_result_is_the_same(
    worker: Worker, parts: int
) -> None:
    encode(worker, ("a", 1), ("b", 2))
    whole = align(worker, "a", "b")
    pieces = align(worker, "a", "b", parts=parts)
    assert [each.shape[1] for each in whole.values()] == [POSITIONS, POSITIONS - 1]
    for number, weights in whole.items():
        assert np.array_equal(weights, pieces[number])


def test_windows_that_are_not_there_are_told_and_the_others_aligned(worker: Worker) -> None:
    encode(worker, ("b", 2), (None, 3))
    windows = [[name, TOKENS, SKIP, POSITIONS] for name in ("a", "b", "c")]
    assert worker.whisper_begin_alignment(windows) == ([1], 1)
    assert [*align(worker, "a", "b", "c")] == [1]
    assert align(worker, "a") == {}


def test_a_window_that_is_let_go_of_makes_room(worker: Worker) -> None:
    encode(worker, ("a", 1))
    worker.whisper_let_go(["a", "never"])
    encode(worker, ("b", 2), ("c", 3))  # the two that are kept for a retry
    assert align(worker, "a") == {}


def test_a_batch_that_fails_does_not_spoil_the_next(worker: Worker) -> None:
    encode(worker, ("a", 1))
    worker.whisper_begin_alignment([["a", [10_000_000], 0, POSITIONS]])
    with pytest.raises(IndexError):
        worker.whisper_continue_alignment(1)
    assert align(worker, "a")[0].shape == (len(TOKENS) - SKIP - 1, POSITIONS)


def test_without_named_heads_all_of_the_upper_half_of_the_layers_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upper = range(LAYERS // 2, LAYERS)
    model = make_model(monkeypatch, ModelOptions())
    assert model._alignment_heads == {layer: [*range(HEADS)] for layer in upper}


def test_each_rank_of_a_tensor_parallel_model_has_its_own_heads(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whisper_service.engine.worker import model as module

    (encoded,) = encode(worker, ("a", 1))
    model = worker.model_runner.get_model()
    monkeypatch.setattr(module, "get_tensor_model_parallel_rank", lambda: 1)
    work = model.alignment_pass([TextInWindow(encoded, TOKENS, SKIP, POSITIONS)])
    assert work._first_head == HEADS


def test_a_retry_runs_no_encoder(worker: Worker) -> None:
    cache: EncoderCache = worker.model_runner.get_model().encoder_cache
    (first,) = encode(worker, ("a", 1))
    (again,) = encode(worker, ("a", 1))
    assert torch.equal(first, again)
    assert cache.encoded == 1


def test_a_worker_without_a_batch_has_nothing_to_continue(worker: Worker) -> None:
    assert worker.whisper_begin_alignment([]) == ([], 0)
    assert worker.whisper_continue_alignment(1) == (0.0, [])
