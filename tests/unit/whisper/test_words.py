"""Words as the reference makes them: faster-whisper has its code."""

from __future__ import annotations

import unicodedata

import pytest
from faster_whisper.tokenizer import Tokenizer as TheirTokenizer
from faster_whisper.transcribe import merge_punctuations
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.whisper.words import (
    APPENDED,
    PREPENDED,
    merge_punctuation,
    split_words,
    with_whole_characters,
)

from .byte_level import small_model, tokenizer_like_whispers

VOCABULARY, TOKENIZER = small_model()

some = settings(max_examples=100, deadline=None)
languages = st.sampled_from(["en", "de", "zh", "ja", "th", "my", "yue", "ko"])
written = st.text(
    st.sampled_from("abhelow  .,!?'\"-([{¿。，、：”“hello日本語กาёß👍🏽\u200d\u0301"), max_size=30
)
tokens = st.lists(st.integers(0, VOCABULARY.end_of_text - 1), max_size=30)


def tokens_of(text: str) -> list[int]:
    return TOKENIZER.encode(text)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (" hello world", "en", [" hello", " world"]),
        (" hello, world.", "en", [" hello", ",", " world", "."]),
        (" it's", "en", [" it", "'s"]),
        ("日本", "ja", ["日", "本"]),
        (" grüße", "de", [" grüße"]),
        ("", "en", []),
    ],
)
def test_a_text_is_split_where_the_reference_splits_it(
    text: str, language: str, expected: list[str]
) -> None:
    assert [word.text for word in split_words(tokens_of(text), TOKENIZER, language)] == expected


@some
@given(given_tokens=st.one_of(tokens, written.map(tokens_of)), language=languages)
def test_words_are_the_text_and_all_of_its_tokens(given_tokens: list[int], language: str) -> None:
    words = split_words(given_tokens, TOKENIZER, language)
    assert "".join(word.text for word in words) == TOKENIZER.decode(given_tokens)
    assert sum(word.tokens for word in words) == len(given_tokens)
    assert all(word.tokens for word in words)


@some
@given(text=written, language=languages)
def test_whole_text_is_split_as_the_reference_splits_it(text: str, language: str) -> None:
    theirs = TheirTokenizer(
        tokenizer_like_whispers(), multilingual=True, task="transcribe", language="en"
    )
    theirs.language_code = language
    given_tokens = tokens_of(text)
    expected, counts = theirs.split_to_word_tokens([*given_tokens, theirs.eot])
    words = split_words(given_tokens, TOKENIZER, language)
    assert [word.text for word in words] == expected[:-1]
    assert [word.tokens for word in words] == [len(each) for each in counts[:-1]]


@some
@given(
    texts=st.lists(
        st.sampled_from(
            [" hello", "lo", ".", ",", "'", ' "', '"', " (", ")", " -", "-", "。", " ", "“", "”"]
        ),
        max_size=10,
    )
)
def test_punctuation_goes_where_the_reference_puts_it(texts: list[str]) -> None:
    alignment = [{"word": text, "tokens": [index]} for index, text in enumerate(texts)]
    merge_punctuations(alignment, PREPENDED, APPENDED)
    expected = [each["word"] for each in alignment if each["tokens"]]
    merged = merge_punctuation(texts)
    assert ["".join(texts[each.first : each.last]) for each in merged] == expected
    assert all(each.first <= each.core < each.last for each in merged)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("ที่นี่", "th", ["ที่", "นี่"]),
        ("น้ำ", "th", ["น้ำ"]),
        ("ນ້ຳ", "lo", ["ນ້ຳ"]),
        ("မြန်မာ", "my", ["မြ", "န်", "မာ"]),
        ("か\u3099", "ja", ["か\u3099"]),
        ("日本", "ja", ["日", "本"]),
        ("👍🏽好", "zh", ["👍🏽", "好"]),
        (" नमस्ते दुनिया", "hi", [" नमस्ते", " दुनिया"]),
        (" வணக்கம்", "ta", [" வணக்கம்"]),
    ],
)
def test_no_word_begins_inside_a_character(text: str, language: str, expected: list[str]) -> None:
    words = with_whole_characters(split_words(tokens_of(text), TOKENIZER, language))
    assert [word.text for word in words] == expected


@some
@given(given_tokens=st.one_of(tokens, written.map(tokens_of)), language=languages)
def test_whole_characters_are_the_text_and_all_of_its_tokens(
    given_tokens: list[int], language: str
) -> None:
    words = with_whole_characters(split_words(given_tokens, TOKENIZER, language))
    assert "".join(word.text for word in words) == TOKENIZER.decode(given_tokens)
    assert sum(word.tokens for word in words) == len(given_tokens)
    assert not any(unicodedata.category(word.text[0]).startswith("M") for word in words[1:])
