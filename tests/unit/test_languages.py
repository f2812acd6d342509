from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_service.languages import LANGUAGES, language_name, resolve_language


def test_there_are_whispers_hundred_languages_in_its_own_order() -> None:
    assert len(LANGUAGES) == 100
    assert [*LANGUAGES][:5] == ["en", "zh", "de", "es", "ru"]
    assert [*LANGUAGES][-1] == "yue"  # the one that large-v3 added
    assert len(set(LANGUAGES.values())) == 100


def test_names_are_the_reference_tokenizers_where_iso_has_others() -> None:
    for code, name in {
        "my": "myanmar",
        "ht": "haitian creole",
        "nn": "nynorsk",
        "el": "greek",
        "jw": "javanese",
        "lb": "luxembourgish",
        "yue": "cantonese",
    }.items():
        assert language_name(code) == name


def test_every_code_and_every_name_resolves_to_its_code() -> None:
    for code, name in LANGUAGES.items():
        assert resolve_language(code) == code
        assert resolve_language(code.upper()) == code
        assert resolve_language(name) == code
        assert resolve_language(name.title()) == code
        assert resolve_language(language_name(code)) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("en-US", "en"),
        ("en_GB", "en"),
        ("pt_BR", "pt"),
        ("de-CH-1996", "de"),
        ("sr-Latn-RS", "sr"),
        ("es-419", "es"),
        ("zh-Hant", "zh"),
        ("zh_Hans_CN", "zh"),
        ("zh-TW", "zh"),
        ("zh-yue", "yue"),
        ("zh-cmn-Hans", "zh"),
        ("yue-Hant-HK", "yue"),
        ("haw-US", "haw"),
        ("  English ", "en"),
        ("haitian  creole", "ht"),
    ],
)
def test_what_clients_send_is_understood(value: str, code: str) -> None:
    assert resolve_language(value) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("nb", "no"),
        ("nb-NO", "no"),
        ("nn-NO", "nn"),
        ("iw", "he"),
        ("in", "id"),
        ("ji", "yi"),
        ("jv", "jw"),
        ("mo", "ro"),
        ("fil", "tl"),
        ("fil-PH", "tl"),
        ("cmn-Hans-CN", "zh"),
        ("burmese", "my"),
        ("Castilian", "es"),
        ("mandarin", "zh"),
        ("farsi", "fa"),
        ("Norwegian Bokmål", "no"),
    ],
)
def test_other_names_and_codes_of_the_same_language_are_understood(value: str, code: str) -> None:
    assert resolve_language(value) == code


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "auto",
        "xx",
        "e",
        "klingon",
        "en-",
        "-en",
        "en us",
        "en--US",
        "zh-",
        "english-US",
        "eng lish",
        "<|en|>",
        "en\x00",
        "ｅｎ",
        "e\u0301n",
    ],
)
def test_what_is_no_language_of_whispers_resolves_to_none(value: str) -> None:
    assert resolve_language(value) is None


@given(st.text())
def test_any_text_resolves_to_one_of_whispers_codes_or_to_none(value: str) -> None:
    assert resolve_language(value) in {*LANGUAGES, None}


def test_an_unknown_code_is_its_own_name() -> None:
    assert language_name("tlh") == "tlh"
