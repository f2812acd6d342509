"""The model in the engine's own process, where vLLM on a CPU would start one more for it.

vLLM's reason is that a process's OpenMP threads cannot be placed once it runs: `cpu.launcher`
places them before. What goes between the two, samples and tokens of each step, then needs no copy.
"""

from __future__ import annotations

from vllm.v1.executor.uniproc_executor import UniProcExecutor


class InProcessExecutor(UniProcExecutor):  # type: ignore[misc]  # vLLM is not typed
    """vLLM's own, under a name that its CPU platform does not replace."""
