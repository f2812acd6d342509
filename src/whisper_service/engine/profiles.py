"""Engine arguments for a GPU and for a CPU: plain data, chosen by what the machine has.

Why each value is what it is stands beside it. `WHISPER_ENGINE_ARGS` overrides any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from whisper_service.engine.devices import QUIET, Device

ENCODER_TOKENS = 1_500  # positions that the encoder gives for one window: 50 a second
POSITIONS = 448  # of the decoder
_MINIMUM_CAPABILITY = (8, 9)  # Ada: the first with fp8 e4m3 in hardware
_HOPPER = (9, 0)
# Positions in a block of vLLM's cache on a CPU: a window's lie in 3 pieces of memory, and its text
# in 1. vLLM's default of 128 is read at half the speed.
_CPU_BLOCK = 512
_OMP_THREADS = "VLLM_CPU_OMP_THREADS_BIND"  # processors of an engine; `|` parts those of several

Name = Literal["gpu", "cpu"]


class UnsuitableDeviceError(RuntimeError):
    """The machine cannot run the profile; the message says which settings would help."""


@dataclass(frozen=True)
class Profile:
    name: Name
    default_model: str
    engine_args: Mapping[str, Any]
    environment: Mapping[str, str]  # set before vLLM is imported, unless the operator set them
    model_runner: Literal["v1", "v2"] = "v2"  # vLLM's default on the device

    @property
    def max_windows(self) -> int:
        """Windows that are decoded together, by all engines."""
        engines = int(self.engine_args.get("data_parallel_size", 1))
        return int(self.engine_args["max_num_seqs"]) * engines


# What holds for Whisper on any device.
_COMMON: dict[str, Any] = {
    "max_model_len": POSITIONS,
    "limit_mm_per_prompt": {"audio": 1},
    "enable_prefix_caching": False,  # encoder-decoder models have none
    "generation_config": "vllm",  # the checkpoint's sampling defaults are not for timestamps
    "logprobs_mode": "processed_logprobs",  # what engine.decoding_rules relies on
    "mm_processor_cache_gb": 0.25,  # about 280 windows of 30 s: a retry sends no samples again
    "use_tqdm_on_load": False,
    "disable_log_stats": False,  # vLLM's own series on /metrics
}


def choose(name: Literal["auto", "gpu", "cpu"], device: Device) -> Profile:
    """The profile that the settings ask for.

    Raises:
        UnsuitableDeviceError: `gpu` without a GPU, or with one below compute capability 8.9.
    """
    if name == "cpu" or (name == "auto" and device.capability is None):
        return cpu_profile(device)
    return gpu_profile(device)


def gpu_profile(device: Device) -> Profile:
    """bfloat16 weights, fp8 e4m3 KV cache, torch.compile and CUDA graphs."""
    if device.capability is None:
        raise UnsuitableDeviceError(
            "WHISPER_PROFILE=gpu, but no CUDA GPU is visible. Set WHISPER_PROFILE=cpu, or make the "
            "GPU visible to the container (NVIDIA container toolkit, `--gpus all`)."
        )
    if device.capability < _MINIMUM_CAPABILITY:
        major, minor = device.capability
        raise UnsuitableDeviceError(
            f"The GPU has compute capability {major}.{minor}; an fp8 KV cache needs 8.9 or newer "
            "(Ada, Hopper, Blackwell). Set WHISPER_PROFILE=cpu to run on the CPU."
        )
    arguments: dict[str, Any] = {
        **_COMMON,
        "dtype": "bfloat16",
        "kv_cache_dtype": "fp8_e4m3",
        "max_num_seqs": 64,
        "max_num_batched_tokens": 16 * ENCODER_TOKENS,  # also the encoder's budget: 16 windows
        "gpu_memory_utilization": 0.9,
        "enforce_eager": False,
        # Near 20, bfloat16 steps are 0.125, so the top tokens often tie.
        "hf_overrides": {"head_dtype": "float32"},
        # The whole decoder is one compiled graph; encoder-decoder models capture decode steps only.
        "compilation_config": {"mode": 3, "cudagraph_mode": "FULL_DECODE_ONLY"},
    }
    if device.capability < _HOPPER:
        # FlashAttention takes an fp8 KV cache from Hopper on; Ada needs Triton's kernels.
        arguments["attention_backend"] = "TRITON_ATTN"
    return Profile("gpu", "openai/whisper-large-v3", arguments, QUIET)


def cpu_profile(device: Device) -> Profile:
    """Every core; bfloat16 and the fp8 KV cache where the processor has the instructions."""
    arguments: dict[str, Any] = {
        **_COMMON,
        "dtype": "bfloat16" if device.bfloat16 else "float32",
        # vLLM's fp8 KV cache on a CPU needs AVX-512.
        "kv_cache_dtype": "fp8_e4m3" if device.avx512 else "auto",
        "max_num_seqs": 16,
        "max_num_batched_tokens": 8 * ENCODER_TOKENS,  # more does not fit a CPU's caches better
        "block_size": _CPU_BLOCK,
        # Compiling gains about a tenth with many windows and costs half a minute at each start.
        "enforce_eager": True,
    }
    environment = {
        **QUIET,
        # The default keeps a core back for the API, which needs a fraction of one.
        _OMP_THREADS: ",".join(map(str, device.cpus)),
    }
    return Profile("cpu", "embedded", arguments, environment, model_runner="v1")


def with_engines(profile: Profile, device: Device, engines: int) -> Profile:
    """The profile with so many whole engines: one on each GPU, or on a share of the processors.

    Raises:
        UnsuitableDeviceError: the machine has not enough of them.
    """
    if engines == 1:
        return profile
    available = device.gpus if profile.name == "gpu" else len(device.cpus)
    if engines > available:
        kind = "visible GPUs" if profile.name == "gpu" else "processors"
        raise UnsuitableDeviceError(
            f"WHISPER_DATA_PARALLEL_SIZE={engines}, but there are {available} {kind}: each engine "
            "needs one of its own."
        )
    environment = dict(profile.environment)
    if profile.name == "cpu":
        shares = (device.cpus[number::engines] for number in range(engines))
        environment[_OMP_THREADS] = "|".join(",".join(map(str, share)) for share in shares)
    return replace(
        profile,
        engine_args={**profile.engine_args, "data_parallel_size": engines},
        environment=environment,
    )


def with_kv_cache(
    profile: Profile, kv_values: int, overrides: Mapping[str, Any] | None = None
) -> Profile:
    """The profile with room for the keys and values of all its windows, and hardly more.

    vLLM uses every block of its cache in turn: on a CPU what is spare is soon memory in use. On a
    GPU it takes what `gpu_memory_utilization` leaves.

    Args:
        profile: of a CPU or a GPU.
        kv_values: numbers that the decoder keeps for a position.
        overrides: the operator's engine arguments, which may ask for other windows or types.
    """
    if profile.name == "gpu":
        return profile
    wanted = {**profile.engine_args, **(overrides or {})}
    kind = wanted["dtype"] if wanted["kv_cache_dtype"] == "auto" else wanted["kv_cache_dtype"]
    size = 1 if "fp8" in kind else 4 if kind == "float32" else 2
    block = int(wanted["block_size"])
    text = -(-POSITIONS // block)
    audio = -(-ENCODER_TOKENS // block)
    # A block is spare, and a window may be on its way out.
    windows = int(wanted["max_num_seqs"]) + 2
    # vLLM does not start with less than one request whose audio takes the encoder's whole budget.
    least = -(-int(wanted["max_num_batched_tokens"]) // block) + text
    room = max(windows * (audio + text), least + 2) * block * kv_values * size
    return replace(profile, engine_args={**profile.engine_args, "kv_cache_memory_bytes": room})
