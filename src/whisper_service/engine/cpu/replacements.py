"""What is computed in place of vLLM's on a CPU: the one place that decides it.

Called in vLLM's worker by its dotted name (`cpu.launcher`), once the model is loaded and its cache
is there. Each replacement is compared with what it replaces first; where they differ, vLLM's stays
and a warning says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from whisper_service.engine.launcher import Replaced


@torch.inference_mode()
def replace_computations(runner: Any, compiled: bool) -> dict[str, Any]:
    """Replaces what can be replaced in the runner's model.

    Args:
        runner: vLLM's model runner on a CPU.
        compiled: whether the kernels are compiled already (`kernels.ahead`).

    Returns:
        A `Replaced` as a dictionary.
    """
    # Numba, not earlier: vLLM looks through all modules when a worker starts, and stumbles over
    # one of llvmlite's objects (0.32, triton_utils/dispatcher.py).
    from whisper_service.engine.cpu.cache_writes import use_rounded_cache_writes
    from whisper_service.engine.cpu.cross_attention import use_integer_cross_attention
    from whisper_service.engine.cpu.decoder_steps import use_short_decoder
    from whisper_service.engine.cpu.encoder_attention import use_headwise_attention
    from whisper_service.engine.cpu.kernel_threads import shares_threads
    from whisper_service.engine.cpu.kernels.ahead import forget_caches
    from whisper_service.engine.cpu.packed_layers import use_packed_vocabulary

    if not compiled:
        forget_caches()
    model, config = runner.get_model(), runner.vllm_config
    decoder, layers = model.model.decoder, model.model.decoder.layers
    shared = shares_threads()
    done = _Replacements()
    done.try_one(
        "headwise_encoder_attention", lambda: use_headwise_attention(model.model.encoder.layers)
    )
    # Before the decoder, which takes its embeddings.
    packs = shared and done.try_one("packed_weights", lambda: use_packed_vocabulary(model))
    writes = done.try_one("rounded_cache_writes", lambda: use_rounded_cache_writes(layers))
    if shared and writes:  # it leaves what is no fp8, and is cleared by the writes
        done.try_one("integer_cross_attention", lambda: use_integer_cross_attention(layers))
    done.try_one("short_decoder", lambda: use_short_decoder(decoder, config, pack=packs))
    return asdict(done.result())


class _Replacements:
    """Tries one after the other, and remembers what came of it."""

    def __init__(self) -> None:
        self._in_use: list[str] = []
        self._warnings: list[str] = []
        self._seconds = 0.0

    def try_one(self, name: str, use: Callable[[], bool]) -> bool:
        """Whether it is in use. Any failure leaves vLLM's own: it was there first."""
        began = time.perf_counter()
        try:
            used = use()
        except Exception as error:  # noqa: BLE001 -- vLLM's insides may have changed in any way
            used = False
            self._warnings.append(f"vLLM's own computes in place of {name}: {error or error!r}")
        self._seconds += time.perf_counter() - began
        if used:
            self._in_use.append(name)
        return used

    def result(self) -> Replaced:
        return Replaced(tuple(self._in_use), tuple(self._warnings), self._seconds)
