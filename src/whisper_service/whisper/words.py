"""From text tokens to words (openai/whisper, tokenizer.py and timing.py)."""

from __future__ import annotations

import codecs
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from whisper_service.whisper.characters import continues
from whisper_service.whisper.tokenizer import TextTokenizer

# Written without spaces: each character counts as a word (tokenizer.py, split_to_word_tokens).
SPACELESS = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
# What belongs to the word after it, and to the one before it (timing.py, add_word_timestamps).
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class TokenizedWord:
    """A word as it is written, spaces included, and how many tokens it is made of."""

    text: str
    tokens: int


def split_words(
    tokens: Sequence[int], tokenizer: TextTokenizer, language: str
) -> list[TokenizedWord]:
    """The words of a text; together they are the text, and no punctuation is merged yet.

    Args:
        tokens: of text only.
        tokenizer: of the checkpoint.
        language: Whisper's code of the language of the text.
    """
    characters = _whole_characters(tokens, tokenizer)
    if language in SPACELESS:
        return characters
    words: list[TokenizedWord] = []
    for part in characters:
        begins = part.text.startswith(" ") or part.text.strip() in string.punctuation
        if begins or not words:
            words.append(part)
        else:
            words[-1] = _joined(words[-1], part)
    return words


def with_whole_characters(words: Iterable[TokenizedWord]) -> list[TokenizedWord]:
    """The words, none of which begins inside a character, as the reference's do: with a Thai tone
    mark, say.
    """
    whole: list[TokenizedWord] = []
    for word in words:
        if whole and continues(whole[-1].text, word.text):
            whole[-1] = _joined(whole[-1], word)
        else:
            whole.append(word)
    return whole


@dataclass(frozen=True)
class Merged:
    """Words [first, last) that belong together; `core` is the one that is no punctuation."""

    first: int
    core: int
    last: int


def merge_punctuation(texts: Sequence[str]) -> list[Merged]:
    """Which words belong together, in order; all are in one of them."""
    found: list[Merged] = []
    begin = 0
    for index, text in enumerate(texts):
        opens = text.startswith(" ") and text.strip() in PREPENDED
        if opens and index + 1 < len(texts):
            continue  # it belongs to the next one
        word = "".join(texts[begin : index + 1])
        if found and word in APPENDED and not texts[begin - 1].endswith(" "):
            found[-1] = replace(found[-1], last=index + 1)
        else:
            found.append(Merged(begin, index, index + 1))
        begin = index + 1
    return found


def _whole_characters(tokens: Sequence[int], tokenizer: TextTokenizer) -> list[TokenizedWord]:
    """The fewest tokens that are whole characters together, again and again."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found: list[TokenizedWord] = []
    text, count = "", 0
    for token in tokens:
        text += decoder.decode(tokenizer.token_bytes(token))
        count += 1
        if text and not decoder.getstate()[0]:
            found.append(TokenizedWord(text, count))
            text, count = "", 0
    text += decoder.decode(b"", final=True)
    if text or not found:
        return [*found, TokenizedWord(text, count)] if count else found
    return [*found[:-1], TokenizedWord(found[-1].text, found[-1].tokens + count)]


def _joined(first: TokenizedWord, second: TokenizedWord) -> TokenizedWord:
    return TokenizedWord(first.text + second.text, first.tokens + second.tokens)
