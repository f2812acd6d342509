from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from whisper_service.checkpoints.checkpoint import read_checkpoint
from whisper_service.checkpoints.convert import convert
from whisper_service.checkpoints.ctranslate2 import read_model, to_transformers

from .tiny_whisper import HEADS, LAYERS, MEL_BINS, WIDTH, write


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("ctranslate2"))


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("transformers")
    convert(source, target)
    return target


def test_the_checkpoint_is_complete(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_anybody_on_the_machine_may_read_the_weights(made: Path) -> None:
    assert (made / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_weights_are_the_sources_bit_for_bit(source: Path, made: Path) -> None:
    weights = load_file(made / "model.safetensors")
    expected = to_transformers(read_model(source / "model.bin"))
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert weights[name].dtype == np.float16
        np.testing.assert_array_equal(weights[name], tensor)


def test_the_shape_of_the_model_is_read_off_its_weights(made: Path) -> None:
    config = json.loads((made / "config.json").read_text())
    expected = {
        "model_type": "whisper",
        "d_model": WIDTH,
        "num_mel_bins": MEL_BINS,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8,
        "max_source_positions": 1500,
        "max_target_positions": 448,
    }
    assert config.items() >= expected.items()


def test_the_tokenizer_gets_its_timestamps(made: Path) -> None:
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    first = tokenizer.token_to_id("<|0.00|>")
    assert first == tokenizer.token_to_id("<|notimestamps|>") + 1
    assert tokenizer.token_to_id("<|12.34|>") == first + 617
    assert tokenizer.token_to_id("<|30.00|>") == first + 1500
    assert tokenizer.get_vocab_size() == first + 1501


def test_merges_that_the_source_lacks_are_restored(source: Path, tmp_path: Path) -> None:
    lacking, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(source, lacking)
    target.mkdir()
    content = json.loads((source / "tokenizer.json").read_text())
    del content["model"]["merges"][0]
    (lacking / "tokenizer.json").write_text(json.dumps(content))
    convert(lacking, target)
    tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
    assert len(tokenizer.encode(" hello", add_special_tokens=False).ids) == 1


def test_the_generation_config_says_what_the_source_hints_at(made: Path) -> None:
    generation = json.loads((made / "generation_config.json").read_text())
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    assert generation["suppress_tokens"] == [1, 2]
    assert generation["alignment_heads"] == [[0, 1]]
    assert generation["max_initial_timestamp_index"] == 50
    assert generation["no_timestamps_token_id"] == tokenizer.token_to_id("<|notimestamps|>")
    assert generation["prev_sot_token_id"] == tokenizer.token_to_id("<|startofprev|>")


def test_the_feature_extractor_has_the_models_mel_bins(made: Path) -> None:
    assert json.loads((made / "preprocessor_config.json").read_text())["feature_size"] == MEL_BINS


def test_the_service_reads_what_was_made(made: Path) -> None:
    checkpoint = read_checkpoint(str(made))
    assert not checkpoint.vocabulary.is_multilingual  # it is too small to be
    assert checkpoint.tokenizer.decode(checkpoint.tokenizer.encode(" hello")) == " hello"


def test_a_tokenizer_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    other = {"decoder/embeddings/weight": np.zeros((100, WIDTH), np.float16)}
    source = write(tmp_path / "source", **other)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ValueError, match="the weights 100"):
        convert(source, target)
