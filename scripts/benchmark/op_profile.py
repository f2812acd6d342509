"""Which of PyTorch's operators the engine's time goes to: mixed into its worker by vLLM."""

from __future__ import annotations

import time
from typing import Any

from whisper_service.engine.cpu.encoder_attention import use_headwise_attention


class OperatorProfile:
    """The profiler runs in the thread of the engine's steps, between two calls from outside."""

    model_runner: Any  # the worker's own
    _profiler: Any = None
    _began = 0.0

    def profile_prepare(self) -> None:
        """As the service does, but for the kernels that are none of PyTorch's operators."""
        use_headwise_attention(self.model_runner.get_model().model.encoder.layers)

    def profile_start(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self._profiler = profile(activities=[ProfilerActivity.CPU])
        self._profiler.__enter__()
        self._began = time.perf_counter()

    def profile_stop(self) -> dict[str, Any]:
        """Seconds from start to stop, and of each operator itself, without those it calls."""
        seconds = time.perf_counter() - self._began
        self._profiler.__exit__(None, None, None)
        averages = self._profiler.key_averages()
        operators = {each.key: each.self_cpu_time_total / 1e6 for each in averages}
        return {"seconds": seconds, "operators": operators}
