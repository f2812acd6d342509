from __future__ import annotations

from itertools import pairwise

import pytest

from whisper_service.formats.line_breaks import BreakQuality, char_width, find_breaks, tidy


def parts(text: str, max_width: int = 1000) -> list[str]:
    """The text, cut wherever a line may end."""
    bounds = [0, *(b.position for b in find_breaks(text, max_width)), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


def qualities(text: str) -> list[BreakQuality]:
    return [b.quality for b in find_breaks(text, 1000)]


def test_a_line_ends_after_a_space_or_a_hidden_word_bound() -> None:
    assert parts("to be　or\u200bnot") == ["to ", "be　", "or\u200b", "not"]


def test_a_line_does_not_end_at_a_no_break_space() -> None:
    assert parts("10\u00a0000\u202fkm de route") == ["10\u00a0000\u202fkm ", "de ", "route"]


def test_a_line_ends_after_a_hyphen_between_letters_only() -> None:
    assert parts("well-known and/or 10-20 -5 a--b") == (
        ["well-", "known ", "and/", "or ", "10-20 ", "-5 ", "a--b"]
    )


@pytest.mark.parametrize("text", ["« quoi ?", "50 %", "« mot", "( mot", "mot »", "mot ;"])
def test_french_and_loose_punctuation_stays_with_its_word(text: str) -> None:
    assert parts(text) == [text]


def test_the_end_of_a_sentence_is_the_best_place_then_that_of_a_clause() -> None:
    assert qualities("Yes. No, “maybe.” So (he said) it: well") == [
        BreakQuality.SENTENCE,
        BreakQuality.CLAUSE,
        BreakQuality.SENTENCE,
        BreakQuality.WORD,
        BreakQuality.WORD,
        BreakQuality.WORD,
        BreakQuality.CLAUSE,
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京。大阪", ["東", "京。", "大", "阪"]),
        ("「東」、京！？", ["「東」、", "京！？"]),
        ("コーヒー、きょう", ["コー", "ヒー、", "きょ", "う"]),
        ("人々が…", ["人々", "が…"]),
        ("10月のiPhoneは5万円", ["10月", "の", "iPhone", "は5万", "円"]),
        ("他说：“好。”", ["他", "说：", "“好。”"]),
        ("他——我", ["他——", "我"]),
        ("￥五", ["￥五"]),
    ],
)
def test_chinese_and_japanese_break_between_characters_but_not_at_punctuation(
    text: str, expected: list[str]
) -> None:
    assert parts(text) == expected


def test_in_japanese_the_end_of_hiragana_reads_better_than_the_middle_of_a_word() -> None:
    assert qualities("学校へ行") == [BreakQuality.INSIDE, BreakQuality.INSIDE, BreakQuality.WORD]


def test_korean_breaks_at_spaces_only() -> None:
    assert parts("안녕하세요 여러분") == ["안녕하세요 ", "여러분"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ไปกินข้าว", ["ไป", "กิ", "น", "ข้า", "ว"]),
        ("ศุกร์", ["ศุ", "กร์"]),  # the silent consonant stays with what is before it
        ("ໄປກິນ", ["ໄປ", "ກິ", "ນ"]),
        ("မြန်မာ", ["မြန်", "မာ"]),
        ("မန္တလေး", ["မန္တ", "လေး"]),  # stacked consonants
        ("ខ្មែរ", ["ខ្មែ", "រ"]),
    ],
)
def test_south_east_asian_scripts_break_between_syllables_at_most(
    text: str, expected: list[str]
) -> None:
    assert parts(text) == expected


def test_tibetan_breaks_after_its_syllable_mark() -> None:
    assert parts("བོད་སྐད") == ["བོད་", "སྐད"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", ["a", "b", "c"]),
        ("🇩🇪🇫🇷🇩", ["🇩🇪", "🇫🇷", "🇩"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("👩‍👧❤️x", ["👩‍👧", "❤️", "x"]),
        ("e\u0301e", ["e\u0301", "e"]),
        ("क्षमा", ["क्ष", "मा"]),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", ["\u1112\u1161\u11ab", "\u1100\u1173\u11af"]),
        ("ｶﾞｷﾞ", ["ｶﾞ", "ｷﾞ"]),
        ("a\u00a0\u200eb", ["a\u00a0\u200eb"]),
    ],
)
def test_a_word_too_long_for_a_line_is_cut_between_what_looks_like_characters(
    text: str, expected: list[str]
) -> None:
    assert parts(text, max_width=1) == expected


def test_only_the_word_that_is_too_long_is_cut() -> None:
    assert parts("ab abcd ab", max_width=3) == ["ab ", "a", "b", "c", "d ", "ab"]


def test_widths_are_columns() -> None:
    text = "a東ｱＡ가é\u0301👍\u200d"
    assert [char_width(char) for char in text] == [1, 2, 1, 2, 2, 1, 0, 2, 0]


def test_tidy_text_has_single_spaces_between_visible_words() -> None:
    assert tidy("a \u200e b") == "a b"
    assert tidy("a \u00a0 b") == "a b"
    assert tidy("a\u00a0\u202fb") == "a\u00a0b"
    assert tidy("a\u200b\u200bb") == "a\u200bb"
    assert tidy("a 　b") == "a　b"
    assert tidy("\ufeffa\x00b\u2028c\r\n") == "ab c"
