"""Small tokenizers built like Whisper's: bytes, a few merges, then the special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary, read_vocabulary

TIMESTAMPS = 1501  # <|0.00|> … <|30.00|>
_MERGES = [("h", "e"), ("l", "o"), ("he", "l"), ("hel", "lo"), ("Ġ", "hello"), ("Ġ", "w")]


def tokenizer_like_whispers(
    languages: Sequence[str] = ("en", "de", "fr"),
    *,
    no_speech: str = "<|nospeech|>",
    timestamps: int = TIMESTAMPS,
    timestamps_are_special: bool = True,
    more: Sequence[str] = (),
) -> Tokenizer:
    """A tokenizer with Whisper's special tokens in Whisper's order.

    Args:
        languages: their codes.
        no_speech: the name of the token; OpenAI's older tokenizers say `<|nocaptions|>`.
        timestamps: how many; 0 where the model alone knows of them.
        timestamps_are_special: OpenAI's own on the hub have them as ordinary added tokens.
        more: tokens after the timestamps, as fine-tunes add them.
    """
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols += ["".join(pair) for pair in _MERGES]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(_MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe"]
    names += ["startoflm", "startofprev", no_speech.strip("<|>"), "notimestamps"]
    _add(tokenizer, [f"<|{name}|>" for name in names], special=True)
    times = [f"<|{index * 0.02:.2f}|>" for index in range(timestamps)]
    _add(tokenizer, times, special=timestamps_are_special)
    _add(tokenizer, more, special=True)
    return tokenizer


def _add(tokenizer: Tokenizer, names: Sequence[str], *, special: bool) -> None:
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=special) for name in names])


@cache
def small_model() -> tuple[Vocabulary, TextTokenizer]:
    """What the service knows of a multilingual model of three languages."""
    tokenizer = tokenizer_like_whispers()
    generation = {"is_multilingual": True}
    vocabulary = read_vocabulary(tokenizer, {"vocab_size": tokenizer.get_vocab_size()}, generation)
    return vocabulary, TextTokenizer(tokenizer, vocabulary)


@cache
def small_english_model() -> tuple[Vocabulary, TextTokenizer]:
    """The same of an English-only one."""
    tokenizer = tokenizer_like_whispers(("en",))
    vocabulary = read_vocabulary(
        tokenizer, {"vocab_size": tokenizer.get_vocab_size()}, {"is_multilingual": False}
    )
    return vocabulary, TextTokenizer(tokenizer, vocabulary)
