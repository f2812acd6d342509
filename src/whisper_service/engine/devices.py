"""What this machine computes with: GPUs, or a CPU and its instructions."""

from __future__ import annotations

import os
from dataclasses import dataclass

# One of them is there where CUDA can work: NVIDIA's driver, Windows' Linux, Jetson.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu")
# The environment of every process that imports torch or vLLM.
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",  # no call home
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # this process has threads by the time of the fork
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TORCH_LOGS": "-torch._library.triton",  # which says that there is no Triton
    "PYTHONWARNINGS": "ignore",  # of vLLM's processes: nothing there is for the operator
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Device:
    """What the choice depends on.

    capability: of the GPU, such as (8, 9); None where there is none.
    gpus: how many of them there are.
    cpus: the processors that this process may use.
    """

    capability: tuple[int, int] | None
    cpus: tuple[int, ...] = (0,)
    avx512: bool = False
    bfloat16: bool = False  # AVX512-BF16 or AMX
    gpus: int = 1


def detect_device() -> Device:
    """What this machine has. Imports torch where there may be a GPU, which takes seconds."""
    # torch and vLLM read these when they are imported, which may happen here first.
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    gpus, capability = _visible_gpus() if any(map(os.path.exists, _GPU_FILES)) else (0, None)
    flags = _cpu_flags()
    return Device(
        capability=capability,
        gpus=gpus,
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        avx512="avx512f" in flags,
        bfloat16=bool(flags & {"avx512_bf16", "amx_bf16"}),
    )


def _visible_gpus() -> tuple[int, tuple[int, int] | None]:
    """How many there are, and the compute capability of the first."""
    import torch

    if not torch.cuda.is_available():
        return 0, None
    return torch.cuda.device_count(), torch.cuda.get_device_capability()


def _cpu_flags() -> frozenset[str]:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("flags"):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()
