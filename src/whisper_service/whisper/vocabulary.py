"""What a Whisper checkpoint's vocabulary means: its special tokens, by name, never by number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from whisper_service.domain import TIME_PRECISION, WINDOW_SECONDS, Task
from whisper_service.languages import LANGUAGES

NO_SPEECH_NAMES = ("<|nospeech|>", "<|nocaptions|>")  # newer and older spelling of one token
MULTILINGUAL_VOCABULARY = 51_865  # openai/whisper, model.py: is_multilingual
TIMESTAMPS = round(WINDOW_SECONDS / TIME_PRECISION) + 1  # <|0.00|> … <|30.00|>
MAX_INITIAL_TIMESTAMP = 50  # one second: openai/whisper, decoding.py, max_initial_timestamp
# Symbols that are written but not spoken (openai/whisper, tokenizer.py, non_speech_tokens).
_NON_SPEECH_SYMBOLS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    "<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))",
    "[[", "]]", "{{", "}}", "♪♪", "♪♪♪",
)  # fmt: skip
_MUSIC_SYMBOLS = "♩♪♫♬♭♮♯"


class UnsuitableCheckpointError(ValueError):
    """The checkpoint is not one of Whisper, or lacks what transcription needs."""


@dataclass(frozen=True)
class Vocabulary:
    """Token ids of one checkpoint. Plain data: it travels to the engine's process as JSON."""

    size: int  # up to <|30.00|>: what a fine-tune adds beyond is no time and no text
    end_of_text: int
    start_of_transcript: int
    start_of_previous: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int  # <|0.00|>
    languages: Mapping[str, int]  # code → token; empty for an English-only model
    tasks: Mapping[str, int]  # empty for an English-only model
    suppressed: tuple[int, ...]  # never generated
    suppressed_at_begin: tuple[int, ...]  # never the first token of a text
    max_initial_timestamp: int  # token id

    @property
    def is_multilingual(self) -> bool:
        return bool(self.languages)

    @property
    def prefix_length(self) -> int:
        """Tokens that are generated before the text: language and task, or none."""
        return 2 if self.is_multilingual else 0

    def is_timestamp(self, token: int) -> bool:
        return token >= self.timestamp_begin

    def seconds(self, token: int) -> float:
        """The time that a timestamp token stands for, in seconds of its window."""
        return (token - self.timestamp_begin) * TIME_PRECISION

    def timestamp(self, seconds: float) -> int:
        """The timestamp token nearest to a time of a window."""
        return min(self.timestamp_begin + round(seconds / TIME_PRECISION), self.size - 1)

    def task_token(self, task: Task) -> int:
        return self.tasks[task]


def read_vocabulary(
    tokenizer: Tokenizer, config: Mapping[str, Any], generation: Mapping[str, Any]
) -> Vocabulary:
    """The vocabulary of a checkpoint in Transformers form.

    Args:
        tokenizer: as in tokenizer.json.
        config: config.json.
        generation: generation_config.json, or an empty mapping where the checkpoint has none.

    Raises:
        UnsuitableCheckpointError: a token is missing without which there are no timestamps.
    """
    size = int(config["vocab_size"])
    said = generation.get("is_multilingual")
    multilingual = size >= MULTILINGUAL_VOCABULARY if said is None else bool(said)
    languages = _languages(tokenizer, generation) if multilingual else {}
    tasks = (
        {task.value: token_id(tokenizer, f"<|{task}|>") for task in Task} if multilingual else {}
    )
    timestamp_begin = token_id(tokenizer, "<|0.00|>", default=_after_no_timestamps(tokenizer))
    end = token_id(tokenizer, "<|endoftext|>")
    given = generation.get("suppress_tokens", config.get("suppress_tokens"))
    symbols = _non_speech_tokens(tokenizer) if given is None else given
    begin = generation.get("begin_suppress_tokens", config.get("begin_suppress_tokens"))
    if begin is None:
        begin = [tokenizer.encode(" ", add_special_tokens=False).ids[0], end]
    initial = generation.get("max_initial_timestamp_index")
    return Vocabulary(
        size=min(size, timestamp_begin + TIMESTAMPS),
        end_of_text=end,
        start_of_transcript=token_id(tokenizer, "<|startoftranscript|>"),
        start_of_previous=token_id(tokenizer, "<|startofprev|>"),
        no_speech=token_id(tokenizer, *NO_SPEECH_NAMES),
        no_timestamps=token_id(tokenizer, "<|notimestamps|>"),
        timestamp_begin=timestamp_begin,
        languages=languages,
        tasks=tasks,
        # Every special token between the end of text and the first timestamp is out of place
        # inside a text, whether or not the checkpoint lists it.
        suppressed=tuple(sorted({*symbols, *range(end + 1, timestamp_begin)} - {-1})),
        suppressed_at_begin=tuple(begin),
        max_initial_timestamp=timestamp_begin
        + (MAX_INITIAL_TIMESTAMP if initial is None else int(initial)),
    )


def token_id(tokenizer: Tokenizer, *names: str, default: int | None = None) -> int:
    """The id of the first of `names` that the tokenizer has, else `default`.

    Raises:
        UnsuitableCheckpointError: it has none of them, and there is no default.
    """
    for name in names:
        token = tokenizer.token_to_id(name)
        if token is not None:
            return int(token)
    if default is not None:
        return default
    raise UnsuitableCheckpointError(
        f"the checkpoint's tokenizer has no token {' or '.join(names)}: is it Whisper's?"
    )


def _after_no_timestamps(tokenizer: Tokenizer) -> int:
    # Older tokenizers end with <|notimestamps|>; the model's embedding goes on with <|0.00|>.
    return token_id(tokenizer, "<|notimestamps|>") + 1


def _languages(tokenizer: Tokenizer, generation: Mapping[str, Any]) -> dict[str, int]:
    given = generation.get("lang_to_id")
    if given:
        return {name.strip("<|>"): int(token) for name, token in given.items()}
    found = {code: tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES}
    return {code: int(token) for code, token in found.items() if token is not None}


def _non_speech_tokens(tokenizer: Tokenizer) -> Iterable[int]:
    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    # "-" and "'" are allowed inside a word, not at its beginning.
    tokens = {encode(" -")[0], encode(" '")[0]}
    for symbol in (*_NON_SPEECH_SYMBOLS, *_MUSIC_SYMBOLS):
        for ids in (encode(symbol), encode(f" {symbol}")):
            # Rare music symbols are several bytes: their first byte alone gives them away.
            if len(ids) == 1 or symbol in _MUSIC_SYMBOLS:
                tokens.add(ids[0])
    return tokens
