"""Methods that vLLM mixes into its worker, beside the loaded model (`worker.model`).

They are called through `AsyncLLM.collective_rpc`, between two steps of the engine. What they take
and give is plain data: it travels between processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from whisper_service.engine.worker.alignment_pass import AlignmentPass, TextInWindow


@dataclass(eq=False)
class _Alignment:
    """One batch that is being aligned; `numbers` are its windows' places in what was asked."""

    work: AlignmentPass
    parts: Iterator[None]
    numbers: list[int]
    skips: list[int]


class WhisperWorkerExtension:
    model_runner: Any  # the worker's own
    _whisper_alignment: _Alignment | None = None

    @property
    def _whisper_model(self) -> Any:
        # Not the runner's attribute `model`: with CUDA graphs that is a wrapper.
        return self.model_runner.get_model()

    def whisper_set_up(self, function: str, arguments: list[Any]) -> dict[str, Any]:
        """Has a launcher's own function prepare the loaded model (`launcher.WorkerSetup`)."""
        module, _, name = function.partition(":")
        done: dict[str, Any] = getattr(import_module(module), name)(self.model_runner, *arguments)
        return done

    def whisper_describe_model(self) -> tuple[str, list[str]]:
        """The model's class, and the attention backends that its layers really use."""
        layers = self.model_runner.vllm_config.compilation_config.static_forward_context.values()
        backends = (getattr(layer, "attn_backend", None) for layer in layers)
        names = sorted({backend.get_name() for backend in backends if backend is not None})
        return type(self._whisper_model).__name__, names

    @torch.inference_mode()
    def whisper_begin_alignment(self, windows: list[list[Any]]) -> tuple[list[int], int]:
        """Begins a batch, in place of any other.

        Args:
            windows: name, tokens with prefix and end, tokens before <|notimestamps|>, and frames
                with audio, of each.

        Returns:
            The numbers of those whose encoder output is known here; only these are aligned. And
            the windows whose encoder outputs are held.
        """
        model = self._whisper_model
        found, numbers = [], []
        for number, (name, tokens, skip, frames) in enumerate(windows):
            encoded = model.encoder_output(name)
            if encoded is not None:
                found.append(TextInWindow(encoded, tokens, skip, min(frames, len(encoded))))
                numbers.append(number)
        self._whisper_alignment = None
        if found:
            work = model.alignment_pass(found)
            skips = [window.skip for window in found]
            self._whisper_alignment = _Alignment(work, work.parts(), numbers, skips)
        return numbers, model.encoder_cache.windows

    @torch.inference_mode()
    def whisper_continue_alignment(self, parts: int) -> tuple[float, list[list[Any]] | None]:
        """Does so many parts of the batch's work.

        The number decides, not a clock: the ranks of a tensor-parallel model must stay together.

        Returns:
            Seconds that it took, and once all is done for each window of the batch: its number, its
            rows, and float16[rows, frames] as bytes, one row for each text token's beginning and
            one for the end of the last.
        """
        began = time.perf_counter()
        alignment = self._whisper_alignment
        if alignment is None:
            return 0.0, []
        for _ in range(parts):
            if next(alignment.parts, True):
                self._whisper_alignment = None
                return time.perf_counter() - began, _results(alignment)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what was only asked for would hold up the engine unseen
        return time.perf_counter() - began, None

    def whisper_let_go(self, names: list[str]) -> None:
        """These windows' encoder outputs are not needed any more."""
        for name in names:
            self._whisper_model.encoder_cache.let_go(name)


def _results(alignment: _Alignment) -> list[list[Any]]:
    results: list[list[Any]] = []
    for number, skip, weights in zip(
        alignment.numbers, alignment.skips, alignment.work.weights, strict=True
    ):
        rows = _summed_over_ranks(weights)[skip:-1].to(torch.float16).cpu().numpy()
        results.append([number, len(rows), rows.tobytes()])
    return results


def _summed_over_ranks(weights: torch.Tensor) -> torch.Tensor:
    """Each rank has some of the heads."""
    from vllm.distributed import tensor_model_parallel_all_reduce

    summed: torch.Tensor = tensor_model_parallel_all_reduce(weights)
    return summed
