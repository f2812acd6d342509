from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from whisper_service.engine.devices import Device
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.parameters import ModelOptions, vocabulary_of
from whisper_service.engine.profiles import choose
from whisper_service.engine.requests import Decoding, DecodingRequest
from whisper_service.engine.worker.plugin import ARCHITECTURE

from .whispers_rules import multilingual

CPU, GPU = choose("auto", Device(None)), choose("auto", Device((9, 0)))


@pytest.fixture(autouse=True)
def default_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_USE_V2_MODEL_RUNNER", raising=False)


def test_the_engine_is_given_the_profile_the_rules_and_the_vocabulary() -> None:
    arguments = WhisperEngine("some/folder", multilingual(), CPU).engine_arguments()
    assert arguments.items() >= CPU.engine_args.items()
    assert arguments["model"] == "some/folder"
    assert vocabulary_of(arguments["additional_config"]) == multilingual()
    assert arguments["worker_extension_cls"].endswith("WhisperWorkerExtension")


@pytest.mark.parametrize(
    ("profile", "setting", "module"),
    [
        (CPU, None, "logits_processor_v1"),
        (CPU, "1", "logits_processor_v1"),
        (GPU, None, "logits_processor_v2"),
        (GPU, "1", "logits_processor_v2"),
        (GPU, "0", "logits_processor_v1"),
    ],
)
def test_the_rules_come_in_the_interface_of_vllms_runner(
    monkeypatch: pytest.MonkeyPatch, profile: Any, setting: str | None, module: str
) -> None:
    if setting is not None:
        monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", setting)
    (processor,) = WhisperEngine("m", multilingual(), profile).engine_arguments()[
        "logits_processors"
    ]
    assert processor == f"whisper_service.engine.{module}:WhisperLogitsProcessor"


def test_an_experts_arguments_win() -> None:
    overrides = {"max_num_seqs": 3, "dtype": "float16", "swap_space": 1}
    arguments = WhisperEngine("m", multilingual(), GPU, overrides=overrides).engine_arguments()
    assert arguments.items() >= overrides.items()
    assert arguments["kv_cache_dtype"] == "fp8_e4m3"


def test_the_engine_runs_the_services_own_model_class() -> None:
    arguments = WhisperEngine("m", multilingual(), CPU).engine_arguments()
    assert arguments["hf_overrides"] == {"architectures": [ARCHITECTURE]}


def test_an_operators_changes_to_the_models_configuration_are_added() -> None:
    overrides = {"hf_overrides": {"max_source_positions": 750}}
    arguments = WhisperEngine("m", multilingual(), GPU, overrides=overrides).engine_arguments()
    assert arguments["hf_overrides"] == {
        "architectures": [ARCHITECTURE],
        "head_dtype": "float32",
        "max_source_positions": 750,
    }


def test_the_model_is_told_its_alignment_heads_and_what_to_keep() -> None:
    engine = WhisperEngine(
        "m", multilingual(), CPU, encoder_cache_windows=3, alignment_heads=[(1, 2)]
    )
    config = engine.engine_arguments()["additional_config"]
    assert ModelOptions.from_config(config) == ModelOptions(3, ((1, 2),))


def test_an_engine_that_has_not_started_is_not_dead() -> None:
    assert not WhisperEngine("m", multilingual(), CPU).is_dead


async def test_an_engine_that_has_not_started_can_be_stopped() -> None:
    await WhisperEngine("m", multilingual(), CPU).stop()


def test_the_average_counts_the_end_of_the_text_as_the_reference_does() -> None:
    decoding = Decoding(
        tokens=(21, 1, 25),
        logprobs=(-0.5, -1.0, -0.25, -0.25),
        language=12,
        language_prob=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
        finished=True,
        looped=False,
    )
    assert decoding.avg_logprob == -0.5


@pytest.mark.parametrize(
    ("asked", "used"), [(0.0, 0.0), (1e-6, 0.01), (0.009, 0.01), (0.01, 0.01), (0.4, 0.4)]
)
def test_a_temperature_is_the_one_that_vllm_will_use(asked: float, used: float) -> None:
    samples = np.zeros(1, np.float32)
    assert DecodingRequest(samples, temperature=asked).temperature == used


def test_requests_for_different_windows_never_share_features() -> None:
    samples = np.zeros(1, np.float32)
    assert DecodingRequest(samples).key != DecodingRequest(samples).key
