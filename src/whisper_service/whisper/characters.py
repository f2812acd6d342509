"""What is seen as one character, though it is several code points.

The part of Unicode's grapheme clusters (UAX 29) that speech has use for: marks stay with their
letter, joined letters and emoji stay together. Flags, two letters each, are not looked at.
"""

from __future__ import annotations

import unicodedata

_MARKS = frozenset({"Mn", "Mc", "Me"})
_JOINERS = frozenset("\u200c\u200d")
_VIRAMA = 9  # combining class: joins the consonant before it to the one after it ...
_ASAT = "\u103a"  # ... but for the Burmese one, which only silences
_WRITTEN_AFTER = frozenset("\u0e33\u0eb3\uff9e\uff9f")  # Thai and Lao am, half-wide sound marks
_EMOJI_MODIFIERS = ("\U0001f3fb", "\U0001f3ff")
_JOINING_JAMO = (("\u1160", "\u11ff"), ("\ud7b0", "\ud7ff"))


def is_character_bound(before: str, after: str) -> bool:
    """Whether one character ends and another begins between two code points."""
    if before.isascii() and after.isascii():
        return True
    return not (
        unicodedata.category(after) in _MARKS
        or after in _JOINERS
        or before in _JOINERS
        or after in _WRITTEN_AFTER
        or (unicodedata.combining(before) == _VIRAMA and before != _ASAT)
        or _EMOJI_MODIFIERS[0] <= after <= _EMOJI_MODIFIERS[1]
        or any(first <= after <= last for first, last in _JOINING_JAMO)
    )


def continues(before: str, after: str) -> bool:
    """Whether the text `after` begins inside the last character of the text `before`."""
    return bool(before) and bool(after) and not is_character_bound(before[-1], after[0])
