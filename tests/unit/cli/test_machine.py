"""`models`, `doctor` and `bench`."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.unit.checkpoints import tiny_whisper
from tests.unit.cli.conftest import Command, Running
from whisper_service.checkpoints.convert import convert
from whisper_service.cli import doctor as examining
from whisper_service.engine import devices
from whisper_service.engine.devices import Device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a GPU, its cache empty, a free port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHISPER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WHISPER_PORT", "0")
    monkeypatch.setattr(
        devices, "detect_device", lambda: Device(None, (0, 1), avx512=True, bfloat16=True)
    )
    return tmp_path


def findings(command: Command) -> tuple[int, dict[str, dict[str, str]]]:
    result = command("doctor", "--json")
    return result.exit_code, {each["name"]: each for each in json.loads(result.stdout)}


def test_the_doctor_says_which_profile_would_be_used_and_why(
    command: Command, machine: Path
) -> None:
    code, found = findings(command)
    assert code == 0, found
    assert found["profile"]["text"] == "cpu: no GPU is visible; 2 processors are"
    assert "bfloat16 weights, fp8_e4m3 KV cache" in found["engine"]["text"]
    assert found["model"]["text"].startswith("embedded: made from its packages")
    assert "✓ profile" in command("doctor").stdout


def test_the_doctor_finds_what_would_stop_the_start(
    command: Command, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("WHISPER_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("WHISPER_PROFILE", "gpu")
        monkeypatch.setattr(examining, "version", lambda _: "0.31.0")
        code, found = findings(command)
    assert code == 1
    assert found["port"]["verdict"] == "failed"
    assert found["profile"]["verdict"] == "failed"
    assert "no CUDA GPU is visible" in found["profile"]["text"]
    assert found["vllm"]["verdict"] == "warning"


def test_the_doctor_reads_wrong_settings_out(
    command: Command, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_MAX_UPLOADS", "many")
    code, found = findings(command)
    assert code == 1
    assert "WHISPER_MAX_UPLOADS" in found["settings"]["text"]


def test_a_model_that_is_not_here_is_not_whole(command: Command, machine: Path) -> None:
    assert "is prepared when first used" in command("models", "list").stdout
    result = command("models", "verify", "embedded")
    assert result.exit_code == 1
    assert "is not here" in result.stderr


def test_a_folder_with_weights_cut_off_is_broken(command: Command, machine: Path) -> None:
    folder = machine / "tiny"
    folder.mkdir()
    convert(tiny_whisper.write(machine / "source"), folder)
    whole = command("models", "verify", folder)
    assert whole.exit_code == 0, whole.stderr
    assert "whole" in whole.stdout
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    broken = command("models", "verify", folder)
    assert broken.exit_code == 1
    assert "model.safetensors" in broken.stderr


def test_what_is_no_whisper_is_told(command: Command, machine: Path) -> None:
    (machine / "bert").mkdir()
    (machine / "bert" / "config.json").write_text('{"model_type": "bert"}')
    result = command("models", "verify", "bert")
    assert result.exit_code == 1
    assert "not a Whisper" in result.stderr


def test_a_folder_need_not_be_fetched(command: Command, machine: Path) -> None:
    assert command("models", "pull", machine).exit_code == 2


def test_the_benchmark_measures_each_load(
    command: Command, service: Running, recordings: Path
) -> None:
    arguments = ("bench", recordings / "one.wav", "--url", service.url, "--rounds", "2")
    result = command(*arguments, "--in-flight", "1,3", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [(row["in_flight"], row["requests"]) for row in rows] == [(1, 2), (3, 6)]
    assert all(0 < row["median_seconds"] <= row["p95_seconds"] for row in rows)
    assert all(row["rtfx"] > 0 for row in rows)
    assert len(service.transcriber.asked) == 1 + 2 + 6
    assert "RTFx" in command(*arguments).stdout
    assert command(*arguments, "--in-flight", "0").exit_code == 2
