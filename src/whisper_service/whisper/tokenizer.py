"""Text to tokens and back, with special tokens never read out of a user's text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer

from whisper_service.whisper.vocabulary import Vocabulary


class TextTokenizer:
    """A checkpoint's tokenizer for plain text."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        # What looks like a special token in a prompt is text, else a user could end the prompt.
        # Many checkpoints have their timestamps as added tokens that are not called special.
        content = json.loads(tokenizer.to_str())
        for token in content["added_tokens"]:
            token["special"] = True
        self._tokenizer = Tokenizer.from_str(json.dumps(content))
        self._tokenizer.encode_special_tokens = True
        self._end_of_text = vocabulary.end_of_text

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; special tokens and timestamps have none."""
        words = [token for token in tokens if token < self._end_of_text]
        return str(self._tokenizer.decode(words, skip_special_tokens=False))

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a text token stands for; a part of a character is not text by itself."""
        symbols = self._tokenizer.id_to_token(token) or ""
        return bytes(_BYTE_OF_SYMBOL[symbol] for symbol in symbols)


def _byte_symbols() -> dict[str, int]:
    """GPT-2's byte-level alphabet: printable bytes are themselves, the others come after U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(byte): byte for byte in printable}
    return symbols | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTE_OF_SYMBOL = _byte_symbols()
