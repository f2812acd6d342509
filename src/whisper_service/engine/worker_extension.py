"""Methods that vLLM mixes into its worker, beside the loaded model.

They are called through `AsyncLLM.collective_rpc`, between two steps of the engine. What they take
and give is plain data: it travels between processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from whisper_service.engine.alignment_pass import AlignmentPass, TextInWindow
from whisper_service.engine.decoder_steps import use_short_decoder
from whisper_service.engine.encoder_attention import use_own_attention
from whisper_service.engine.encoder_cache import EncoderCache
from whisper_service.engine.parameters import name_of


@dataclass(eq=False)
class _Alignment:
    """One batch that is being aligned; `numbers` are its windows' places in what was asked."""

    work: AlignmentPass
    parts: Iterator[None]
    numbers: list[int]
    skips: list[int]


class WhisperWorkerExtension:
    model_runner: Any  # the worker's own
    _whisper_encoder_cache: EncoderCache | None = None
    _whisper_heads: dict[int, list[int]] | None = None
    _whisper_alignment: _Alignment | None = None

    def whisper_keep_encoder_outputs(self, windows: int, names: int = 0) -> None:
        """Keeps the encoder's outputs of the latest `windows` windows, and of `names` by name."""
        runner, model = self.model_runner, self.model_runner.model
        cache = EncoderCache(type(model).embed_multimodal.__get__(model), windows, names)
        model.embed_multimodal = cache.embed_multimodal
        if names:
            runner.execute_model = _naming(type(runner).execute_model.__get__(runner), cache)
        self._whisper_encoder_cache = cache

    def whisper_encoder_cache_counts(self) -> dict[str, int]:
        cache = self._whisper_encoder_cache
        if cache is None:
            return {"hits": 0, "misses": 0, "windows": 0}
        return {"hits": cache.hits, "misses": cache.misses, "windows": cache.windows}

    def whisper_use_own_kernels(self, compiled: bool) -> list[str]:
        """On a processor, where there are better ones than vLLM's.

        Args:
            compiled: whether they are, ahead (`kernels.ahead`).

        Returns:
            Which are in use.
        """
        model = self.model_runner.model.model
        if next(model.parameters()).device.type != "cpu":
            return []
        # Numba, not earlier: vLLM looks through all modules when a worker starts, and stumbles over
        # one of llvmlite's objects (0.32, triton_utils/dispatcher.py).
        from vllm.forward_context import get_forward_context
        from vllm.v1.sample import sampler

        from whisper_service.engine.cache_writes import use_rounded_cache_writes
        from whisper_service.engine.cross_attention import use_integer_cross_attention
        from whisper_service.engine.kernel_threads import shares_threads
        from whisper_service.engine.kernels.ahead import forget_caches
        from whisper_service.engine.packed_vocabulary import use_packed_vocabulary

        if not compiled:
            forget_caches()
        # How many tokens were likelier than the sampled one is a pass over all logits of a step.
        sampler.batched_count_greater_than = _no_ranks
        shared = shares_threads()
        layers, config = model.decoder.layers, self.model_runner.vllm_config
        attention = use_own_attention(model.encoder.layers, integers=shared)
        # Before the decoder, which takes its embeddings.
        packs = shared and use_packed_vocabulary(self.model_runner.model)
        writes = use_rounded_cache_writes(layers)
        in_use = {
            f"{attention}_encoder_attention": attention is not None,
            # Which leaves what is no fp8, and is cleared by the writes.
            "integer_cross_attention": shared and writes and use_integer_cross_attention(layers),
            "rounded_cache_writes": writes,
            "packed_weights": packs,
            "short_decoder": use_short_decoder(
                model.decoder, config, get_forward_context, pack=packs
            ),
        }
        return [name for name, used in in_use.items() if used]

    def whisper_attention_backends(self) -> list[str]:
        """The attention backends that the model's layers really use."""
        layers = self.model_runner.vllm_config.compilation_config.static_forward_context.values()
        backends = (getattr(layer, "attn_backend", None) for layer in layers)
        return sorted({backend.get_name() for backend in backends if backend is not None})

    def whisper_use_alignment_heads(self, heads: list[list[int]]) -> None:
        """The heads that look at what is being said, as (layer, head); none: the upper half's.

        The reference takes all heads of the upper half of the decoder's layers where a model names
        none (openai/whisper, model.py).
        """
        layers = self.model_runner.model.model.decoder.layers
        if not heads:
            count = layers[0].encoder_attn.total_num_heads
            upper = range(len(layers) // 2, len(layers))
            heads = [[layer, head] for layer in upper for head in range(count)]
        by_layer: dict[int, list[int]] = {}
        for layer, head in heads:
            by_layer.setdefault(layer, []).append(head)
        self._whisper_heads = by_layer

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
        if self._whisper_heads is None or self._whisper_encoder_cache is None:
            raise RuntimeError("the worker was not told its alignment heads")
        found, numbers = [], []
        for number, (name, tokens, skip, frames) in enumerate(windows):
            encoded = self._whisper_encoder_cache.named(name)
            if encoded is not None:
                found.append(TextInWindow(encoded, tokens, skip, min(frames, len(encoded))))
                numbers.append(number)
        self._whisper_alignment = None
        if found:
            decoder = self.model_runner.model.model.decoder
            heads = decoder.layers[0].encoder_attn.num_heads
            work = AlignmentPass(decoder, self._whisper_heads, found, heads * _rank())
            skips = [window.skip for window in found]
            self._whisper_alignment = _Alignment(work, work.parts(), numbers, skips)
        return numbers, self._whisper_encoder_cache.windows

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
        if self._whisper_encoder_cache is not None:
            for name in names:
                self._whisper_encoder_cache.let_go(name)


def _results(alignment: _Alignment) -> list[list[Any]]:
    results: list[list[Any]] = []
    for number, skip, weights in zip(
        alignment.numbers, alignment.skips, alignment.work.weights, strict=True
    ):
        rows = _summed_over_ranks(weights)[skip:-1].to(torch.float16).cpu().numpy()
        results.append([number, len(rows), rows.tobytes()])
    return results


def _naming(execute: Callable[..., Any], cache: EncoderCache) -> Callable[..., Any]:
    """The runner's `execute_model`, which first tells the cache of windows that have a name."""

    def execute_model(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        for request in scheduler_output.scheduled_new_reqs:
            parameters = request.sampling_params
            name = name_of(parameters.extra_args) if parameters is not None else None
            if name is None:
                continue
            for feature in request.mm_features:
                if feature.data is not None:
                    cache.expect(name, feature.data["input_features"].data)
        return execute(scheduler_output, *args, **kwargs)

    return execute_model


def _no_ranks(logprobs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """In place of vLLM's ranks, int64[rows], which nobody reads here."""
    return torch.zeros(len(logprobs), dtype=torch.int64)


def _rank() -> int:
    from vllm.distributed import get_tensor_model_parallel_rank

    return int(get_tensor_model_parallel_rank())


def _summed_over_ranks(weights: torch.Tensor) -> torch.Tensor:
    """Each rank has some of the heads."""
    from vllm.distributed import tensor_model_parallel_all_reduce

    summed: torch.Tensor = tensor_model_parallel_all_reduce(weights)
    return summed
