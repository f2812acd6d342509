from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.whisper.byte_level import tokenizer_like_whispers
from whisper_service.checkpoints.checkpoint import read_checkpoint
from whisper_service.whisper.vocabulary import UnsuitableCheckpointError


def write(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer_like_whispers().save(str(folder / "tokenizer.json"))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return str(folder)


def test_a_folder_is_read_with_what_it_has(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {"model_type": "whisper", "vocab_size": 1774},
        {"is_multilingual": True, "suppress_tokens": [5]},
    )
    checkpoint = read_checkpoint(folder)
    assert [*checkpoint.vocabulary.languages] == ["en", "de", "fr"]
    assert 5 in checkpoint.vocabulary.suppressed
    assert checkpoint.tokenizer.decode(checkpoint.tokenizer.encode(" hello")) == " hello"


def test_a_fine_tune_without_a_generation_config_is_welcome(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model_type": "whisper", "vocab_size": 51_865})
    assert read_checkpoint(folder).vocabulary.is_multilingual


def test_another_model_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model_type": "llama", "vocab_size": 5})
    with pytest.raises(UnsuitableCheckpointError, match="llama"):
        read_checkpoint(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsuitableCheckpointError, match=r"config\.json"):
        read_checkpoint(str(tmp_path))


def test_of_a_hub_id_only_the_small_files_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(hub_id: str, *, allow_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        return write(tmp_path, {"model_type": "whisper", "vocab_size": 1774})

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    read_checkpoint("openai/whisper-large-v3")
    ((hub_id, patterns),) = asked
    assert hub_id == "openai/whisper-large-v3"
    assert not [pattern for pattern in patterns if "safetensors" in pattern or pattern == "*"]


@pytest.mark.parametrize("written", ["{", "[1, 2]", "7"])
def test_a_broken_configuration_is_refused_by_its_path(tmp_path: Path, written: str) -> None:
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(UnsuitableCheckpointError, match=r"config\.json cannot be read as JSON"):
        read_checkpoint(str(tmp_path))


def test_a_broken_tokenizer_is_refused_by_its_path(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model_type": "whisper", "vocab_size": 1774})
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UnsuitableCheckpointError, match=r"tokenizer\.json cannot be read as JSON"):
        read_checkpoint(folder)


def test_a_tokenizer_that_lacks_merges_is_repaired(tmp_path: Path) -> None:
    folder = write(tmp_path, {"model_type": "whisper", "vocab_size": 1774})
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    del content["model"]["merges"][0]
    file.write_text(json.dumps(content))
    assert len(read_checkpoint(folder).tokenizer.encode(" hello")) == 1


def test_a_model_that_is_nowhere_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(UnsuitableCheckpointError, match=r"nobody/nothing .* no route to host"):
        read_checkpoint("nobody/nothing")


@pytest.mark.parametrize(
    ("given", "heads"),
    [
        ([[3, 1], [2, 0]], ((2, 0), (3, 1))),
        ([[3, 1], [3, 1]], ((3, 1),)),
        (None, ()),
        ([], ()),
        ([[3, 1], [4, 0], [0, 6], [-1, 0]], ((3, 1),)),  # a larger model's: four layers of six
        ("everything", ()),
        ([[1, 2, 3]], ()),
        ([["a", "b"]], ()),
    ],
)
def test_alignment_heads_are_those_that_are_named_and_exist(
    tmp_path: Path, given: Any, heads: tuple[tuple[int, int], ...]
) -> None:
    config = {
        "model_type": "whisper", "vocab_size": 1774, "decoder_layers": 4,
        "decoder_attention_heads": 6,
    }  # fmt: skip
    folder = write(tmp_path, config, {"is_multilingual": True, "alignment_heads": given})
    assert read_checkpoint(folder).alignment_heads == heads
