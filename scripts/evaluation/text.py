"""Comparing what was heard with what was said."""

from __future__ import annotations

import re
from dataclasses import dataclass

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

UNSPACED = {"ja", "th", "yue", "zh"}  # written without spaces: those that appear mean nothing

# One to ten, as they are spelled. Whisper writes "1, 2, 3" or "one two three" as it pleases, and
# its own normaliser makes the two alike only in part, and only in English.
_ONE_TO_TEN = {
    "en": "one two three four five six seven eight nine ten",
    "es": "uno dos tres cuatro cinco seis siete ocho nueve diez",
    "fr": "un deux trois quatre cinq six sept huit neuf dix",
    "hi": "एक दो तीन चार पांच छह सात आठ नौ दस",
    "it": "uno due tre quattro cinque sei sette otto nove dieci",
    "ja": "一 二 三 四 五 六 七 八 九 十",
    "pl": "jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć",
    "pt": "um dois três quatro cinco seis sete oito nove dez",
    "zh": "一 二 三 四 五 六 七 八 九 十",
}


@dataclass(frozen=True)
class Score:
    """Edits between a reference and what was heard, in words or in characters."""

    edits: int = 0
    length: int = 0  # of the reference

    def __add__(self, other: Score) -> Score:
        return Score(self.edits + other.edits, self.length + other.length)

    @property
    def percent(self) -> float:
        return 100 * self.edits / self.length if self.length else 0.0


def metric(language: str) -> str:
    return "WER" if language == "en" else "CER"


def score(reference: str, heard: str, language: str, *, numbers_alike: bool = False) -> Score:
    """Word edits of English, character edits of every other language, after normalisation."""
    expected = normalise(reference, language, numbers_alike=numbers_alike)
    actual = normalise(heard, language, numbers_alike=numbers_alike)
    compare = jiwer.process_words if language == "en" else jiwer.process_characters
    result = compare(expected, actual)
    edits = result.substitutions + result.deletions + result.insertions
    return Score(edits, result.hits + result.substitutions + result.deletions)


def normalise(text: str, language: str, *, numbers_alike: bool = False) -> str:
    """The text as Whisper's authors compare it.

    Whisper's normaliser joins "one two three" to "123" and leaves "1, 2, 3" apart, which counts
    as three wrong words where one was said. With `numbers_alike`, besides, every number from one
    to ten is spelled.
    """
    if language == "en":
        text = EnglishTextNormalizer()(text)
        text = _spelled(text, language) if numbers_alike else text
    else:
        text = BasicTextNormalizer()(_spelled(text, language) if numbers_alike else text)
    return "".join(text.split()) if language in UNSPACED else " ".join(text.split())


def words(text: str, language: str) -> list[str]:
    """The words to align by, numbers made alike; single characters where no spaces are written."""
    normalised = normalise(text, language, numbers_alike=True)
    return list(normalised) if language in UNSPACED else normalised.split()


def count_words(text: str) -> int:
    """Words in whatever came back from a sound without words; every CJK character is one."""
    normalised = BasicTextNormalizer()(text)
    spaced = re.sub(r"([\u3040-\u30ff\u3400-\u9fff])", r" \1 ", normalised)
    return len(spaced.split())


@dataclass(frozen=True)
class Alignment:
    """What became of the words of a reference."""

    words: int = 0
    lost: int = 0
    doubled: int = 0  # heard again right beside where they were heard already
    invented: int = 0  # heard, said nowhere near
    changed: int = 0

    def __add__(self, other: Alignment) -> Alignment:
        return Alignment(
            self.words + other.words,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.invented + other.invented,
            self.changed + other.changed,
        )


def align(reference: list[str], heard: list[str]) -> Alignment:
    """Counts the words that were lost, came twice, were made up or came out as others."""
    if not heard:
        return Alignment(words=len(reference), lost=len(reference))
    result = jiwer.process_words(" ".join(reference), " ".join(heard))
    doubled = invented = 0
    for chunk in result.alignments[0]:
        if chunk.type != "insert":
            continue
        start, end = chunk.hyp_start_idx, chunk.hyp_end_idx
        reach = end - start + 1  # a doubled phrase stands beside its first hearing
        beside = heard[max(0, start - reach) : start] + heard[end : end + reach]
        again = sum(word in beside for word in heard[start:end])
        doubled += again
        invented += end - start - again
    return Alignment(len(reference), result.deletions, doubled, invented, result.substitutions)


def _spelled(text: str, language: str) -> str:
    """The text with its digits as words; "123" is read "one two three", as it is counted."""
    numbers = _ONE_TO_TEN.get(language, "").split()

    def spell(found: re.Match[str]) -> str:
        number = int(found.group())
        return f" {numbers[number - 1]} " if 0 < number <= len(numbers) else found.group()

    return re.sub(r"10|\d", spell, text)
