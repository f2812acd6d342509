"""How the settings and the machine become an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.engine.whispers_rules import multilingual
from whisper_service import resolve
from whisper_service.checkpoints import checkpoint
from whisper_service.checkpoints import resolve as models
from whisper_service.engine.cpu.launcher import ForkedLauncher
from whisper_service.engine.devices import Device
from whisper_service.engine.launcher import Launcher
from whisper_service.engine.profiles import choose
from whisper_service.resolve import choose_launcher, resolve_engine, resolve_profile
from whisper_service.settings import Settings

GPU, TWO_GPUS = Device(capability=(9, 0)), Device(capability=(9, 0), gpus=2)
CPU = Device(None, cpus=(0, 1))


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


def test_one_gpu_is_asked_for_as_ever() -> None:
    assert resolve_profile(settings(), GPU) == choose("gpu", GPU)


def test_the_engine_sends_its_spans_where_the_service_does() -> None:
    endpoint = "http://collector:4318/v1/traces"
    profile = resolve_profile(settings(traces_endpoint=endpoint), GPU)
    assert profile.engine_args["otlp_traces_endpoint"] == endpoint


def test_windows_in_flight_are_counted_for_each_engine() -> None:
    asked = settings(data_parallel_size=2, max_windows_in_flight=10)
    assert resolve_profile(asked, TWO_GPUS).max_windows == 20


def test_a_gpus_engine_is_started_directly() -> None:
    launcher = choose_launcher(resolve_profile(settings(), GPU), settings())
    assert type(launcher) is Launcher


@pytest.mark.parametrize("kernels", [True, False])
def test_a_cpus_engine_is_forked_and_its_kernels_can_be_turned_off(kernels: bool) -> None:
    asked = settings(cpu_kernels=kernels)
    launcher = choose_launcher(resolve_profile(asked, CPU), asked)
    assert isinstance(launcher, ForkedLauncher)
    assert launcher._own_kernels is kernels


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU, and a checkpoint that needs no file."""
    known = SimpleNamespace(kv_values=12_288, vocabulary=multilingual(), alignment_heads=((1, 2),))
    monkeypatch.setattr(resolve, "detect_device", lambda: CPU)
    monkeypatch.setattr(models, "resolve_model", lambda *_: "some/folder")
    monkeypatch.setattr(checkpoint, "read_checkpoint", lambda _: known)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, 16),
        ({"max_windows_in_flight": 100}, 64),
        ({"encoder_cache_windows": 0}, 0),
        ({"encoder_cache_windows": 500}, 500),
    ],
)
def test_as_many_encoder_outputs_are_kept_as_windows_are_decoded_at_most_64(
    asked: dict[str, int], kept: int
) -> None:
    assert resolve_engine(settings(**asked)).encoder_cache_windows == kept


@pytest.mark.usefixtures("machine")
def test_an_operators_engine_arguments_reach_the_engine_and_size_its_cache() -> None:
    plain = resolve_engine(settings())
    few = resolve_engine(settings(engine_args={"max_num_seqs": 1, "max_num_batched_tokens": 1500}))
    assert few.engine().engine_arguments()["max_num_seqs"] == 1
    room = "kv_cache_memory_bytes"
    assert few.profile.engine_args[room] < plain.profile.engine_args[room]


@pytest.mark.usefixtures("machine")
def test_a_scripts_arguments_take_the_place_of_the_operators() -> None:
    resolved = resolve_engine(settings(engine_args={"max_num_seqs": 1}), {"max_num_seqs": 2})
    assert resolved.engine().engine_arguments()["max_num_seqs"] == 2
    assert resolved.launcher.overrides == {"max_num_seqs": 2}
