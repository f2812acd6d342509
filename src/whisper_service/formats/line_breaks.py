"""Where a line of text may end, in any script, and how well it reads when it does.

A small part of Unicode's line breaking (UAX 14), for text that Whisper writes: at spaces; between
the characters of scripts that have none (Chinese, Japanese, Thai, Lao, Khmer, Burmese); never
before closing punctuation or after opening punctuation; never inside what is seen as one character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum, auto
from functools import lru_cache
from typing import NamedTuple

from whisper_service.whisper.characters import is_character_bound

SEPARATORS = " \u3000\u200b"  # space, ideographic space, and zero width space, a hidden word bound

_NO_BREAK_SPACES = "\u00a0\u2007\u202f"
_BLANKS = re.compile(r"[\s\u200b]+")  # \s has every kind of space and line end that Unicode knows
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff]")  # those that are no \s
_TOKEN = re.compile(f"[^{SEPARATORS}]+")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")  # two regional indicators are one flag

_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"})

_SENTENCE_ENDS = frozenset(".!?…。！？．｡؟۔।॥།။។።፧։")
_CLAUSE_ENDS = frozenset(",;:،؛、，；：､၊፣–—―")
_CLOSERS = frozenset({"Pe", "Pf"})  # brackets and quotation marks that close
_OPENERS = frozenset({"Ps", "Pi"})

# Other characters that a line does not begin with: small kana and sound marks (JIS X 4051), and
# Thai and Lao vowels and signs that are written after their consonant.
_NOT_FIRST = frozenset(
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿｧｨｩｪｫｬｭｮｯ"
) | (frozenset("\uff9e\uff9f℃°‰ฯะาำๅະາຳຽ"))
_NOT_FIRST_CATEGORIES = _CLOSERS | {"Po", "Pd", "Lm"}  # ， ！ 〜 ー 々 ๆ and their like
_MAY_BE_FIRST = frozenset("¡¿@#&§¶＠＃＆※'\"＇＂")  # punctuation that leads, among those

# Other characters that a line does not end with: signs before a number or a word, and the Thai and
# Lao vowels that are written before their consonant.
_NOT_LAST = frozenset("¡¿@#&§¶＠＃＆※'\"＇＂เแโใไເແໂໃໄ")

# A consonant that carries one of these ends a syllable: Thai, Lao, Burmese.
_SYLLABLE_ENDS = frozenset("\u0e4c\u0ecc\u1039\u103a")

_SYLLABLE_MARKS = frozenset("\u0f0b\u0f0d\u1361")  # Tibetan and Ethiopic, in place of spaces
_HYPHENS = frozenset("-‐/–—―")

_HANGUL = (("\u1100", "\u11ff"), ("\u3130", "\u318f"), ("\ua960", "\ua97f"), ("\uac00", "\ud7ff"))
_SOUTH_EAST_ASIAN = (
    ("\u0e01", "\u0e5b"),  # Thai
    ("\u0e81", "\u0edf"),  # Lao
    ("\u1000", "\u109f"),  # Burmese
    ("\u1780", "\u17ff"),  # Khmer
)


class BreakQuality(IntEnum):
    """What a break comes after; the first reads best."""

    SENTENCE = auto()
    CLAUSE = auto()
    WORD = auto()
    INSIDE = auto()  # a run without spaces, or a hyphenated word
    EMERGENCY = auto()  # a word too long for a line


class Break(NamedTuple):
    position: int  # of the first character after it
    quality: BreakQuality


def tidy(text: str) -> str:
    """The text on one line: no control characters, and single spaces that part visible words."""
    words: list[str] = []  # each but the first with the separator before it
    text = _BLANKS.sub(_one_blank, _CONTROLS.sub("", text)).strip(SEPARATORS + _NO_BREAK_SPACES)
    for token in _TOKEN.finditer(text):
        if is_visible(token[0]):
            words.append(text[token.start() - 1] + token[0] if words else token[0])
    return "".join(words)


def is_visible(text: str) -> bool:
    """Whether there is anything to see: not only spaces, controls and format characters."""
    return any(unicodedata.category(char) not in _INVISIBLE for char in text)


def char_width(char: str) -> int:
    """Columns that a character takes: East Asian wide ones two, combining ones none."""
    return 1 if char.isascii() else _wide_char_width(char)


def find_breaks(text: str, max_width: int) -> list[Break]:
    """Every place where a line of tidy text may end, in order.

    Where those are more than `max_width` columns apart, places inside the word are added.
    """
    breaks: list[Break] = []
    flags = {match.start() + 1 for match in _FLAG.finditer(text)}
    start = 0
    for candidate in (*_regular_breaks(text, flags), None):
        end = len(text) if candidate is None else candidate.position
        width = sum(map(char_width, text[start:end].rstrip(SEPARATORS)))
        if width > max_width:
            breaks.extend(_emergency_breaks(text, start, end, flags))
        if candidate is not None:
            breaks.append(candidate)
        start = end
    return breaks


def _one_blank(run: re.Match[str]) -> str:
    blanks = run[0]
    if all(blank in _NO_BREAK_SPACES for blank in blanks):
        return blanks[0]
    if "\u3000" in blanks:
        return "\u3000"
    return "\u200b" if blanks.strip("\u200b") == "" else " "


@lru_cache(maxsize=65536)
def _wide_char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _regular_breaks(text: str, flags: set[int]) -> Iterator[Break]:
    for token in _TOKEN.finditer(text):
        if not token[0].isascii() or not _HYPHENS.isdisjoint(token[0]):
            for position in range(token.start() + 1, token.end()):
                quality = _quality_inside(text, position)
                if quality and _may_part(text, position, flags):
                    yield Break(position, quality)
        if token.end() + 1 < len(text) and not _stay_together(text, token.end()):
            yield Break(token.end() + 1, _quality_after(token[0]))


def _emergency_breaks(text: str, start: int, end: int, flags: set[int]) -> Iterator[Break]:
    for position in range(start + 1, end):
        if text[position] not in SEPARATORS and _is_character_bound(text, position, flags):
            yield Break(position, BreakQuality.EMERGENCY)


def _quality_after(word: str) -> BreakQuality:
    """How well a line ends after a word that a separator follows."""
    for char in reversed(word):
        if char in _SENTENCE_ENDS:
            return BreakQuality.SENTENCE
        if char in _CLAUSE_ENDS:
            return BreakQuality.CLAUSE
        if char not in "\"'" and unicodedata.category(char) not in _CLOSERS:
            break
    return BreakQuality.WORD


def _quality_inside(text: str, position: int) -> BreakQuality | None:
    """How well a line ends between two characters of a word; None where it does not."""
    before, after = text[position - 1], text[position]
    if before in _SYLLABLE_MARKS:
        return BreakQuality.WORD
    if before in _HYPHENS and position > 1 and text[position - 2].isalpha() and after.isalpha():
        return BreakQuality.INSIDE
    if not (_has_no_spaces(before) or _has_no_spaces(after)):
        return None
    if before.isdecimal() or after.isdecimal():
        return None  # a number stays with its unit
    return _quality_between(before, after)


def _quality_between(before: str, after: str) -> BreakQuality:
    """How well a line ends between two characters of a script without spaces."""
    if before in _SENTENCE_ENDS:
        return BreakQuality.SENTENCE
    if before in _CLAUSE_ENDS:
        return BreakQuality.CLAUSE
    closed = unicodedata.category(before) in _CLOSERS or unicodedata.category(after) in _OPENERS
    # in Japanese a phrase ends in hiragana, and the next one begins with something else
    if closed or (_is_hiragana(before) and not _is_hiragana(after)):
        return BreakQuality.WORD
    return BreakQuality.INSIDE


def _stay_together(text: str, separator: int) -> bool:
    """Whether the words around the separator at that index stay on a line, as in « quoi ? »."""
    before, after = text[separator - 1], text[separator + 1]
    return (
        after in "!?;:%"
        or unicodedata.category(after) in _CLOSERS
        or unicodedata.category(before) in _OPENERS
    )


def _may_part(text: str, position: int, flags: set[int]) -> bool:
    before, after = text[position - 1], text[position]
    if after in _NOT_FIRST or before in _NOT_LAST:
        return False
    if unicodedata.category(after) in _NOT_FIRST_CATEGORIES and after not in _MAY_BE_FIRST:
        return False
    if unicodedata.category(before) in _OPENERS or unicodedata.category(before) == "Sc":
        return False
    if text[position + 1 : position + 2] in _SYLLABLE_ENDS:
        return False
    return _is_character_bound(text, position, flags)


def _is_character_bound(text: str, position: int, flags: set[int]) -> bool:
    """Whether what is seen as one character ends here: not before a mark or inside an emoji."""
    before, after = text[position - 1], text[position]
    if before.isascii() and after.isascii():
        return True
    return not (
        unicodedata.category(after) in _INVISIBLE
        or unicodedata.category(before) in _INVISIBLE
        or not is_character_bound(before, after)
        or position in flags
    )


@lru_cache(maxsize=65536)
def _has_no_spaces(char: str) -> bool:
    """Whether the character is of a script that does not part words."""
    if char.isascii() or _is_within(char, _HANGUL):
        return False
    if unicodedata.east_asian_width(char) in ("W", "F", "H"):
        return True
    return _is_within(char, _SOUTH_EAST_ASIAN)


def _is_hiragana(char: str) -> bool:
    return "\u3041" <= char <= "\u309f"


def _is_within(char: str, ranges: tuple[tuple[str, str], ...]) -> bool:
    return any(first <= char <= last for first, last in ranges)
