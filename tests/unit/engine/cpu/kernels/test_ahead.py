"""Kernels are compiled in a process beside the engine's, for just the types that it calls."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from whisper_service.engine.cpu.cache_writes import RoundedWriter
from whisper_service.engine.cpu.cross_attention import IntegerCrossAttention
from whisper_service.engine.cpu.kernels import ahead
from whisper_service.engine.cpu.kernels.ahead import (
    DIRECTORY,
    Ahead,
    compile_cache_writes,
    compile_cross_attention,
    compile_products,
)
from whisper_service.engine.cpu.packed_layers import PackedLinear, PackedVocabulary


class Commands:
    """In place of the module: what its process does is given by the test."""

    def __init__(self, code: str) -> None:
        self._code, self.environments = code, list[dict[str, str]]()

    def start(self, _: list[str], *, env: dict[str, str], **options: Any) -> Any:
        self.environments.append(env)
        return subprocess.Popen([sys.executable, "-c", self._code], env=env, **options)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def use(code: str) -> Commands:
        those = Commands(code)
        own = SimpleNamespace(**{**vars(subprocess), "Popen": those.start})
        monkeypatch.setattr(ahead, "subprocess", own)
        return those

    return use


def test_what_is_compiled_has_a_directory_of_its_own_that_is_gone_after_it(
    commands: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commands(f"import os, pathlib; pathlib.Path(os.environ['{DIRECTORY}'], 'kernel').touch()")
    kernels = Ahead()
    variables = kernels.start()
    assert kernels.start() == variables  # once
    assert kernels.wait()
    (directory,) = tmp_path.iterdir()
    assert variables == {DIRECTORY: str(directory)}
    assert (directory / "kernel").exists()
    assert directory.stat().st_mode & 0o077 == 0  # what is in there is executed
    kernels.finish()
    assert not list(tmp_path.iterdir())
    kernels.finish()
    assert not caplog.text


def test_without_a_place_nothing_is_compiled_ahead(
    commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    those = commands("")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    kernels = Ahead()
    assert kernels.start() == {DIRECTORY: ""}
    assert not kernels.wait()
    kernels.finish()
    assert not those.environments


def test_without_a_process_nothing_is_compiled_ahead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    kernels = Ahead()
    kernels.start()
    assert not kernels.wait()
    kernels.finish()
    assert not list(tmp_path.iterdir())


def test_a_process_that_fails_is_told_of(commands: Any, caplog: pytest.LogCaptureFixture) -> None:
    commands("raise SystemExit(3)")
    kernels = Ahead()
    kernels.start()
    assert not kernels.wait()
    assert "compiled by the engine" in caplog.text
    assert "3" in caplog.text
    kernels.finish()


def test_a_process_that_does_not_end_is_not_waited_for(
    commands: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands("import time; time.sleep(60)")
    monkeypatch.setattr(ahead, "_SECONDS", 0.2)
    kernels = Ahead()
    kernels.start()
    assert not kernels.wait()
    kernels.finish()
    assert not list(tmp_path.iterdir())


def test_an_engine_that_does_not_start_leaves_nothing_behind(commands: Any, tmp_path: Path) -> None:
    commands("import time; time.sleep(60)")
    kernels = Ahead()
    kernels.start()
    kernels.finish()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_is_compiled_for_the_types_that_it_is_called_with() -> None:
    kernels = ahead._kernels()
    for compile_some in (compile_cache_writes, compile_products, compile_cross_attention):
        compile_some()
    before = [list(kernel.signatures) for kernel in kernels]
    key, value = torch.randn(7, 2, 2, 64).bfloat16().unbind(1)
    cache = torch.zeros(2, 2, 32, 128, dtype=torch.float8_e4m3fn)
    slots = torch.arange(7)
    RoundedWriter(2, 64, 32)(None, key, value, cache, slots)
    metadata = SimpleNamespace(
        num_actual_tokens=1,
        query_start_loc=torch.tensor([0, 1], dtype=torch.int32),
        seq_lens=torch.tensor([7], dtype=torch.int32),
        block_table=torch.tensor([[0]], dtype=torch.int32),
        slot_mapping=slots,
    )
    query = key[:1].contiguous()
    attention = IntegerCrossAttention(cache, 1.0)
    attention(None, query, key, value, None, metadata, torch.empty_like(query))
    weight = torch.randn(70, 32).bfloat16()
    PackedVocabulary(weight).logits(weight[:3])
    run = lambda rows, _, bias: functional.linear(rows, weight[:64], bias)  # noqa: E731
    layer = SimpleNamespace(cpu_linear=run, input_size=32, weight=None, bias=None)
    PackedLinear(layer)(weight[:3])
    assert [list(kernel.signatures) for kernel in kernels] == before


FILLS_UP = """
import sys, tempfile
import numpy as np
from whisper_service.engine.cpu.kernels import ahead, fp8_cache

def full(*_, **__):
    raise OSError(28, "No space left on device")

fp8_cache.write._cache._impl.locator.ensure_cache_path = full
if "forget" in sys.argv:
    ahead.forget_caches()
numbers = np.full(64, 0x3F80, np.int16)  # one, as a bfloat16
cache = np.zeros(32 * 128, np.int8)
fp8_cache.write(numbers, numbers, 64, np.zeros(1, np.int64), (1, 64, 32), cache)
assert cache.any()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("forget", 0), ("keep", 1)])
def test_an_engine_whose_disk_is_full_compiles_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, code: int
) -> None:
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    command = [sys.executable, "-c", FILLS_UP, how]
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == code
