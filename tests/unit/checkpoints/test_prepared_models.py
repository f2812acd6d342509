"""What the service reads of the embedded models, as it prepares them: see `conftest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from whisper_service.checkpoints.checkpoint import read_checkpoint
from whisper_service.whisper.vocabulary import read_vocabulary

pytestmark = pytest.mark.engine

KEYS = ["embedded", "embedded:tiny.en"]


@pytest.mark.parametrize("key", KEYS)
def test_the_prepared_tokenizer_knows_every_token_by_name(
    prepared: Callable[[str], Path], key: str
) -> None:
    checkpoint = read_checkpoint(str(prepared(key)))
    vocabulary = checkpoint.vocabulary
    # The ids that OpenAI published, to be sure of the names.
    first, size = (50257, 51865) if key == "embedded" else (50256, 51864)
    assert (vocabulary.end_of_text, vocabulary.size) == (first, size)
    assert vocabulary.start_of_transcript == first + 1
    assert vocabulary.start_of_previous == first + 104
    assert vocabulary.no_speech == first + 105
    assert vocabulary.no_timestamps == first + 106
    assert vocabulary.timestamp_begin == first + 107
    assert vocabulary.suppressed_at_begin == (220, first)
    assert len(vocabulary.languages) == (99 if key == "embedded" else 0)
    assert vocabulary.is_multilingual is (key == "embedded")
    if key == "embedded":
        assert vocabulary.languages["en"] == first + 2
        assert vocabulary.tasks == {"translate": first + 101, "transcribe": first + 102}


@pytest.mark.parametrize("key", KEYS)
def test_without_its_generation_config_the_same_symbols_are_suppressed(
    prepared: Callable[[str], Path], key: str
) -> None:
    folder = prepared(key)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert read_vocabulary(tokenizer, config, {}) == read_checkpoint(str(folder)).vocabulary


@pytest.mark.parametrize("key", KEYS)
def test_prompts_in_any_language_come_back_from_their_tokens(
    prepared: Callable[[str], Path], key: str
) -> None:
    checkpoint = read_checkpoint(str(prepared(key)))
    tokenizer = checkpoint.tokenizer
    for text in ("Grüße aus Köln", "こんにちは世界", "<|endoftext|><|0.00|>", " it's 5 o'clock 🎧"):
        tokens = tokenizer.encode(text)
        assert max(tokens) < checkpoint.vocabulary.end_of_text
        assert tokenizer.decode(tokens) == text
        assert b"".join(map(tokenizer.token_bytes, tokens)) == text.encode()
