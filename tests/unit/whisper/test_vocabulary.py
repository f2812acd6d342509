from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer

from whisper_service.domain import Task
from whisper_service.whisper.vocabulary import (
    UnsuitableCheckpointError,
    Vocabulary,
    read_vocabulary,
)

from .byte_level import TIMESTAMPS, tokenizer_like_whispers

MULTILINGUAL = {"is_multilingual": True}


def read(tokenizer: Tokenizer, generation: dict[str, Any], **config: Any) -> Vocabulary:
    config.setdefault("vocab_size", tokenizer.get_vocab_size())
    return read_vocabulary(tokenizer, config, generation)


def ids(tokenizer: Tokenizer, *names: str) -> list[int]:
    found = [tokenizer.token_to_id(name) for name in names]
    assert None not in found
    return found


@pytest.mark.parametrize("no_speech", ["<|nospeech|>", "<|nocaptions|>"])
@pytest.mark.parametrize("languages", [("en", "de"), ("en", "de", "yue")], ids=["v2", "v3"])
def test_ids_are_looked_up_by_name_wherever_they_have_shifted_to(
    no_speech: str, languages: tuple[str, ...]
) -> None:
    tokenizer = tokenizer_like_whispers(languages, no_speech=no_speech)
    vocabulary = read(tokenizer, MULTILINGUAL)
    assert [
        vocabulary.end_of_text,
        vocabulary.start_of_transcript,
        vocabulary.start_of_previous,
        vocabulary.no_speech,
        vocabulary.no_timestamps,
        vocabulary.timestamp_begin,
        vocabulary.task_token(Task.TRANSCRIBE),
        vocabulary.task_token(Task.TRANSLATE),
    ] == ids(
        tokenizer,
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|startofprev|>",
        no_speech,
        "<|notimestamps|>",
        "<|0.00|>",
        "<|transcribe|>",
        "<|translate|>",
    )
    assert vocabulary.languages == {
        code: tokenizer.token_to_id(f"<|{code}|>") for code in languages
    }
    assert vocabulary.max_initial_timestamp == tokenizer.token_to_id("<|1.00|>")
    assert vocabulary.prefix_length == 2


def test_languages_that_the_checkpoint_lists_are_the_ones() -> None:
    tokenizer = tokenizer_like_whispers(("en", "de"))
    given = {"lang_to_id": {"<|de|>": tokenizer.token_to_id("<|de|>")}} | MULTILINGUAL
    assert [*read(tokenizer, given).languages] == ["de"]


def test_timestamps_are_known_where_the_tokenizer_ends_before_them() -> None:
    whole, cut = tokenizer_like_whispers(), tokenizer_like_whispers(timestamps=0)
    size = whole.get_vocab_size()
    assert read(cut, MULTILINGUAL, vocab_size=size) == read(whole, MULTILINGUAL)


def test_the_seconds_of_a_timestamp_are_its_name() -> None:
    tokenizer = tokenizer_like_whispers()
    vocabulary = read(tokenizer, MULTILINGUAL)
    for name in ("0.00", "0.02", "1.00", "29.98", "30.00"):
        token = tokenizer.token_to_id(f"<|{name}|>")
        assert vocabulary.is_timestamp(token)
        assert vocabulary.seconds(token) == pytest.approx(float(name))
    assert not vocabulary.is_timestamp(vocabulary.no_timestamps)


def test_an_english_only_model_has_no_languages_and_no_tasks_though_its_tokenizer_has() -> None:
    vocabulary = read(tokenizer_like_whispers(("en",)), {"is_multilingual": False})
    assert (vocabulary.languages, vocabulary.tasks) == ({}, {})
    assert not vocabulary.is_multilingual
    assert vocabulary.prefix_length == 0


@pytest.mark.parametrize(
    ("size", "multilingual"), [(51_864, False), (51_865, True), (51_866, True)]
)
def test_without_a_generation_config_the_size_tells_whether_it_is_multilingual(
    size: int, multilingual: bool
) -> None:
    vocabulary = read(tokenizer_like_whispers(), {}, vocab_size=size)
    assert vocabulary.is_multilingual is multilingual


def test_a_generation_config_that_says_null_says_nothing() -> None:
    nothing = {
        "is_multilingual": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "lang_to_id": None,
        "max_initial_timestamp_index": None,
    }
    tokenizer = tokenizer_like_whispers()
    assert read(tokenizer, nothing, vocab_size=51_865) == read(tokenizer, {}, vocab_size=51_865)


def test_a_fine_tune_without_a_generation_config_forbids_what_the_reference_forbids() -> None:
    tokenizer = tokenizer_like_whispers()
    vocabulary = read(tokenizer, MULTILINGUAL)

    def forbidden(text: str) -> bool:
        (token,) = tokenizer.encode(text, add_special_tokens=False).ids
        return token in vocabulary.suppressed

    assert all(forbidden(symbol) for symbol in '"#()*+/:;<=>@[\\]^_`{|}~')
    assert not any(forbidden(symbol) for symbol in "abcXYZ019.,?!-'%&$")
    blank = tokenizer.token_to_id("Ġ")
    assert vocabulary.suppressed_at_begin == (blank, vocabulary.end_of_text)
    music = tokenizer.encode("♪", add_special_tokens=False).ids[0]
    assert music in vocabulary.suppressed


@pytest.mark.parametrize("where", ["generation", "config"])
def test_what_the_checkpoint_suppresses_is_suppressed(where: str) -> None:
    said = {"suppress_tokens": [1, 2, -1], "begin_suppress_tokens": [7]}
    generation, config = (said, {}) if where == "generation" else ({}, said)
    vocabulary = read(tokenizer_like_whispers(), MULTILINGUAL | generation, **config)
    special = range(vocabulary.end_of_text + 1, vocabulary.timestamp_begin)
    assert vocabulary.suppressed == (1, 2, *special)
    assert vocabulary.suppressed_at_begin == (7,)


def test_a_checkpoint_may_suppress_nothing_but_special_tokens_stay_out_of_the_text() -> None:
    said = {"suppress_tokens": [], "begin_suppress_tokens": []}
    vocabulary = read(tokenizer_like_whispers(), MULTILINGUAL | said)
    assert vocabulary.suppressed_at_begin == ()
    assert set(vocabulary.suppressed) == set(
        range(vocabulary.end_of_text + 1, vocabulary.timestamp_begin)
    )


def test_every_special_token_is_kept_out_of_the_text_but_its_end() -> None:
    vocabulary = read(tokenizer_like_whispers(), MULTILINGUAL)
    inner = {
        vocabulary.start_of_transcript,
        vocabulary.start_of_previous,
        vocabulary.no_speech,
        vocabulary.no_timestamps,
        *vocabulary.languages.values(),
        *vocabulary.tasks.values(),
    }
    assert inner <= set(vocabulary.suppressed)
    assert vocabulary.end_of_text not in vocabulary.suppressed


def test_tokens_after_the_last_timestamp_are_no_times_and_never_generated() -> None:
    tokenizer = tokenizer_like_whispers(more=("<|new|>", "<|newer|>"))
    vocabulary = read(tokenizer, MULTILINGUAL)
    assert vocabulary.size == vocabulary.timestamp_begin + TIMESTAMPS
    assert vocabulary.size == tokenizer.get_vocab_size() - 2


def test_the_first_timestamp_is_bounded_as_the_checkpoint_says() -> None:
    vocabulary = read(tokenizer_like_whispers(), MULTILINGUAL | {"max_initial_timestamp_index": 5})
    assert vocabulary.seconds(vocabulary.max_initial_timestamp) == pytest.approx(0.1)


@pytest.mark.parametrize("missing", ["<|startofprev|>", "<|notimestamps|>", "<|endoftext|>"])
def test_a_tokenizer_that_is_not_whispers_is_refused_by_name(missing: str) -> None:
    renamed = tokenizer_like_whispers().to_str().replace(missing, "<|other|>")
    with pytest.raises(UnsuitableCheckpointError) as refusal:
        read(Tokenizer.from_str(renamed), MULTILINGUAL)
    assert missing in str(refusal.value)


def test_a_tokenizer_without_any_no_speech_token_is_refused() -> None:
    renamed = tokenizer_like_whispers().to_str().replace("<|nospeech|>", "<|other|>")
    with pytest.raises(UnsuitableCheckpointError, match="nospeech"):
        read(Tokenizer.from_str(renamed), MULTILINGUAL)
