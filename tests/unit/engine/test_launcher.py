"""The engine is started directly, and knows nothing of a CPU, unless it is told otherwise."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from whisper_service.engine import launcher
from whisper_service.engine.devices import Device
from whisper_service.engine.launcher import Launcher
from whisper_service.engine.profiles import choose
from whisper_service.engine.worker.plugin import ARCHITECTURE

CPU, GPU = choose("auto", Device(None)), choose("auto", Device((9, 0)))

KNOWS_NO_CPU = """
import sys
import whisper_service.engine.engine
import whisper_service.engine.worker.extension
loaded = [n for n in sys.modules if n.startswith(("whisper_service.engine.cpu", "numba"))]
assert not loaded, loaded
"""


@pytest.mark.slow
def test_importing_the_engine_imports_nothing_of_the_cpus() -> None:
    subprocess.run([sys.executable, "-c", KNOWS_NO_CPU], check=True)


def test_the_gpus_way_adds_nothing_to_what_vllm_does() -> None:
    direct = Launcher(GPU)
    assert direct.arguments() == {}
    assert direct.environment() == GPU.environment
    direct.prepare()
    assert direct.wait() is None
    direct.stop()


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What vLLM was asked for; it is played here."""
    asked: list[Any] = []
    module = SimpleNamespace(AsyncEngineArgs=lambda **arguments: arguments)
    engine = SimpleNamespace(AsyncLLM=SimpleNamespace(from_engine_args=asked.append))
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.async_llm", engine)
    monkeypatch.setattr(launcher, "register_class", lambda: asked.append("registered"))
    for name in GPU.environment:
        monkeypatch.delenv(name, raising=False)
    return asked


def test_vllm_finds_the_profiles_environment_and_the_model_class(
    vllm: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    arguments = {"model": "m", "hf_overrides": {"architectures": [ARCHITECTURE]}}
    Launcher(GPU).build(arguments)
    assert vllm == ["registered", arguments]
    import os

    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "0"  # the operator's


def test_vllms_own_model_needs_no_plugin(vllm: list[Any]) -> None:
    arguments = {"model": "m", "hf_overrides": {"architectures": ["WhisperFor..."]}}
    Launcher(CPU).build(arguments)
    assert vllm == [arguments]
