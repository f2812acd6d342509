from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whisper_service.engine import devices
from whisper_service.engine.devices import Device, detect_device
from whisper_service.engine.profiles import (
    UnsuitableDeviceError,
    choose,
    cpu_profile,
    gpu_profile,
    with_engines,
    with_kv_cache,
)

COMMON = {
    "max_model_len": 448,
    "limit_mm_per_prompt": {"audio": 1},
    "enable_prefix_caching": False,
    "generation_config": "vllm",
    "logprobs_mode": "processed_logprobs",
    "mm_processor_cache_gb": 0.25,
    "use_tqdm_on_load": False,
    "disable_log_stats": False,
}

GPU = COMMON | {
    "dtype": "bfloat16",
    "kv_cache_dtype": "fp8_e4m3",
    "max_num_seqs": 64,
    "max_num_batched_tokens": 24_000,
    "gpu_memory_utilization": 0.9,
    "enforce_eager": False,
    "hf_overrides": {"head_dtype": "float32"},
    "compilation_config": {"mode": 3, "cudagraph_mode": "FULL_DECODE_ONLY"},
}

CPU = COMMON | {
    "dtype": "bfloat16",
    "kv_cache_dtype": "fp8_e4m3",
    "max_num_seqs": 16,
    "max_num_batched_tokens": 12_000,
    "block_size": 512,
    "enforce_eager": True,
}

LAPTOP = Device(None, cpus=(0, 1, 2, 3))
SERVER = Device(None, cpus=(2, 3, 5), avx512=True, bfloat16=True)


@pytest.mark.parametrize("capability", [(9, 0), (10, 0), (10, 3), (12, 0)])
def test_a_hopper_or_newer_gpu_gets_fp8_with_the_default_attention(
    capability: tuple[int, int],
) -> None:
    profile = gpu_profile(Device(capability))
    assert profile.engine_args == GPU
    assert profile.default_model == "openai/whisper-large-v3"
    assert profile.max_windows == 64


def test_an_ada_gpu_reads_the_fp8_cache_with_tritons_kernels() -> None:
    assert gpu_profile(Device((8, 9))).engine_args == GPU | {"attention_backend": "TRITON_ATTN"}


@pytest.mark.parametrize("name", ["gpu", "auto"])
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6)])
def test_a_gpu_without_fp8_is_refused_with_the_setting_that_helps(
    name: Any, capability: tuple[int, int]
) -> None:
    with pytest.raises(UnsuitableDeviceError) as refusal:
        choose(name, Device(capability))
    message = str(refusal.value)
    assert "WHISPER_PROFILE=cpu" in message
    assert f"{capability[0]}.{capability[1]}" in message
    assert "8.9" in message


def test_the_gpu_profile_without_a_gpu_is_refused_with_the_setting_that_helps() -> None:
    with pytest.raises(UnsuitableDeviceError, match="WHISPER_PROFILE=cpu"):
        choose("gpu", LAPTOP)


def test_a_processor_with_avx512_and_bfloat16_gets_both_and_all_its_cores() -> None:
    profile = cpu_profile(SERVER)
    assert profile.engine_args == CPU
    assert profile.environment["VLLM_CPU_OMP_THREADS_BIND"] == "2,3,5"
    assert profile.default_model == "embedded"


@pytest.mark.parametrize(
    ("device", "differences"),
    [
        (LAPTOP, {"dtype": "float32", "kv_cache_dtype": "auto"}),
        (Device(None, avx512=True), {"dtype": "float32"}),
        (Device(None, bfloat16=True), {"kv_cache_dtype": "auto"}),
    ],
)
def test_a_lesser_processor_computes_in_what_it_has(
    device: Device, differences: dict[str, str]
) -> None:
    assert cpu_profile(device).engine_args == CPU | differences


@pytest.mark.parametrize(
    ("name", "device", "chosen"),
    [
        ("auto", LAPTOP, "cpu"),
        ("auto", Device((9, 0)), "gpu"),
        ("cpu", Device((9, 0)), "cpu"),
        ("cpu", Device((7, 0)), "cpu"),
        ("gpu", Device((8, 9)), "gpu"),
    ],
)
def test_auto_takes_the_gpu_where_there_is_one(name: Any, device: Device, chosen: str) -> None:
    assert choose(name, device).name == chosen


@pytest.mark.parametrize("device", [LAPTOP, Device((9, 0))])
def test_no_profile_calls_home(device: Device) -> None:
    environment = choose("auto", device).environment
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["DO_NOT_TRACK"] == "1"


def test_profiles_share_no_data_that_one_could_change_for_the_other() -> None:
    arguments = dict(cpu_profile(SERVER).engine_args)
    arguments["dtype"] = "float64"
    assert cpu_profile(SERVER).engine_args == CPU


@pytest.mark.parametrize(
    ("flags", "avx512", "bfloat16"),
    [
        ("fpu sse2 avx2", False, False),
        ("fpu avx2 avx512f avx512_bf16", True, True),
        ("avx512f amx_bf16", True, True),
        ("avx512f", True, False),
        (None, False, False),
    ],
)
def test_the_processor_is_known_by_its_flags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str | None, avx512: bool, bfloat16: bool
) -> None:
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(f"model name\t: Some CPU\nflags\t\t: {flags}\n")
    monkeypatch.setattr(devices, "open", lambda *_, **how: file.open(**how), raising=False)
    device = detect_device()
    assert (device.avx512, device.bfloat16) == (avx512, bfloat16)
    assert device.cpus


@pytest.mark.parametrize(
    ("device", "overrides", "room"),
    [
        # whisper-base: 6 layers, 512 wide; 3 blocks of 512 for the audio and one for the text.
        (SERVER, {}, 18 * 4 * 512 * 6144 * 1),
        (LAPTOP, {}, 18 * 4 * 512 * 6144 * 4),
        (SERVER, {"kv_cache_dtype": "auto"}, 18 * 4 * 512 * 6144 * 2),
        (SERVER, {"max_num_seqs": 8}, 10 * 4 * 512 * 6144 * 1),
        # 24 blocks for eight windows' audio, which vLLM wants for one.
        (SERVER, {"max_num_seqs": 2}, (24 + 1 + 2) * 512 * 6144 * 1),
        (SERVER, {"block_size": 128}, 18 * (12 + 4) * 128 * 6144 * 1),
    ],
)
def test_a_cpus_cache_holds_all_windows_and_hardly_more(
    device: Device, overrides: dict[str, object], room: int
) -> None:
    profile = with_kv_cache(cpu_profile(device), 2 * 6 * 512, overrides)
    assert profile.engine_args["kv_cache_memory_bytes"] == room


def test_a_gpus_cache_is_what_is_left_of_it() -> None:
    profile = choose("gpu", Device((8, 9)))
    assert with_kv_cache(profile, 2 * 6 * 512) == profile


def test_several_gpus_are_an_engine_each_and_so_many_more_windows() -> None:
    host = Device((9, 0), gpus=4)
    profile = with_engines(gpu_profile(host), host, 4)
    assert profile.engine_args == GPU | {"data_parallel_size": 4}
    assert profile.max_windows == 4 * 64


def test_several_engines_on_a_cpu_share_its_processors() -> None:
    profile = with_engines(cpu_profile(SERVER), SERVER, 2)
    assert profile.environment["VLLM_CPU_OMP_THREADS_BIND"] == "2,5|3"
    assert profile.max_windows == 2 * 16


@pytest.mark.parametrize("device", [SERVER, Device((9, 0), gpus=2)])
def test_one_engine_is_asked_for_as_ever(device: Device) -> None:
    profile = choose("auto", device)
    assert with_engines(profile, device, 1) == profile


@pytest.mark.parametrize(
    ("device", "message"),
    [(Device((9, 0), gpus=2), "there are 2 visible GPUs"), (SERVER, "there are 3 processors")],
)
def test_more_engines_than_there_is_room_for_are_refused(device: Device, message: str) -> None:
    with pytest.raises(UnsuitableDeviceError, match=f"DATA_PARALLEL_SIZE=4, but {message}"):
        with_engines(choose("auto", device), device, 4)
