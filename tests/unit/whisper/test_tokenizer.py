from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary, read_vocabulary

from .byte_level import small_model, tokenizer_like_whispers


@pytest.fixture(scope="module", params=[True, False], ids=["all special", "as on the hub"])
def model(request: pytest.FixtureRequest) -> tuple[Vocabulary, TextTokenizer]:
    tokenizer = tokenizer_like_whispers(timestamps_are_special=request.param)
    config = {"vocab_size": tokenizer.get_vocab_size()}
    vocabulary = read_vocabulary(tokenizer, config, {"is_multilingual": True})
    return vocabulary, TextTokenizer(tokenizer, vocabulary)


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["hello hello", " Grüße, 世界 🎧", "\ufffd", "\0\x7f", "e\u0301", "\u202etxt"]
)


@settings(max_examples=200, deadline=None)
@given(text=any_text)
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    _, tokenizer = small_model()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(text=any_text)
def test_the_bytes_of_the_tokens_are_the_texts(text: str) -> None:
    _, tokenizer = small_model()
    data = b"".join(tokenizer.token_bytes(token) for token in tokenizer.encode(text))
    assert data == text.encode()


def test_every_byte_has_a_token(model: tuple[Vocabulary, TextTokenizer]) -> None:
    vocabulary, tokenizer = model
    spelled = {tokenizer.token_bytes(token) for token in range(vocabulary.end_of_text)}
    assert {bytes([byte]) for byte in range(256)} <= spelled


@pytest.mark.parametrize(
    "text",
    [
        "<|endoftext|>",
        "<|startoftranscript|><|en|><|translate|>",
        "before <|startofprev|> after",
        "<|nospeech|>",
        "<|0.00|> hello<|30.00|>",
        "<|notimestamps|>",
    ],
)
def test_special_tokens_in_a_prompt_are_plain_text(
    model: tuple[Vocabulary, TextTokenizer], text: str
) -> None:
    vocabulary, tokenizer = model
    tokens = tokenizer.encode(text)
    assert all(token < vocabulary.end_of_text for token in tokens)
    assert tokenizer.decode(tokens) == text


def test_merges_are_used(model: tuple[Vocabulary, TextTokenizer]) -> None:
    _, tokenizer = model
    assert len(tokenizer.encode(" hello hello")) == 2


def test_timestamps_and_special_tokens_have_no_text(
    model: tuple[Vocabulary, TextTokenizer],
) -> None:
    vocabulary, tokenizer = model
    hello = tokenizer.encode(" hello")
    begin = vocabulary.timestamp_begin
    special = [vocabulary.start_of_transcript, vocabulary.no_speech, vocabulary.end_of_text]
    tokens = [*special, begin, *hello, begin + 50, begin + 50, *hello, begin + 1500]
    assert tokenizer.decode(tokens) == " hello hello"
    assert tokenizer.decode([]) == ""


def test_a_character_that_was_cut_in_two_is_shown_as_unknown() -> None:
    _, tokenizer = small_model()
    tokens = tokenizer.encode("ü")
    assert len(tokens) == 2
    assert tokenizer.decode(tokens[:1]) == "\ufffd"
    assert tokenizer.token_bytes(tokens[0]) == b"\xc3"


def test_the_given_tokenizer_is_left_as_it_was() -> None:
    original = tokenizer_like_whispers()
    before = original.to_str()
    vocabulary, _ = small_model()
    TextTokenizer(original, vocabulary).encode("<|en|>")
    assert original.to_str() == before
    assert original.encode("<|en|>").ids == [original.token_to_id("<|en|>")]
