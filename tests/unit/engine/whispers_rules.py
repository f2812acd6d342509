"""Whisper's decoding rules, read slowly: one row, plain Python, straight from openai/whisper.

`decoding.py` there has SuppressBlank, SuppressTokens and ApplyTimestampRules, and the prompt's
forced tokens; this is written from them and shares no code with the service.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisper_service.whisper.vocabulary import Vocabulary

NEVER = -math.inf
SURE = 1.386  # the natural logarithm of 4, nearly
UNSAID = -1  # in place of a language: whichever the model hears; of a task: to transcribe


def multilingual(**changes: object) -> Vocabulary:
    """A vocabulary of ten words, three languages and eleven timestamps; 0 is the blank."""
    fields = {
        "size": 32,
        "end_of_text": 10,
        "start_of_transcript": 11,
        "start_of_previous": 18,
        "no_speech": 19,
        "no_timestamps": 20,
        "timestamp_begin": 21,
        "languages": {"en": 12, "de": 13, "fr": 14},
        "tasks": {"translate": 15, "transcribe": 16},
        "suppressed": (3, 5, *range(11, 21)),
        "suppressed_at_begin": (0, 10),
        "max_initial_timestamp": 24,
    }
    return Vocabulary(**(fields | changes))  # type: ignore[arg-type]


def english_only() -> Vocabulary:
    """The same without languages and tasks; its tokenizer still has their tokens."""
    return multilingual(languages={}, tasks={})


@dataclass(frozen=True)
class Row:
    """A request in the middle of its decoding. Not `ruled`: it is not Whisper's.

    closed_end, open_end: the least timestamps after which its text may end, one that closes a
        segment and one that begins it. That rule is this service's own.
    """

    generated: tuple[int, ...]
    language: int = UNSAID
    task: int = 16
    temperature: float = 0.0
    ruled: bool = True
    closed_end: int = UNSAID
    open_end: int = UNSAID


def read_slowly(vocabulary: Vocabulary, logits: Sequence[float], row: Row) -> dict[int, float]:
    """The tokens that may come next, with their logits."""
    if vocabulary.languages and len(row.generated) == 0:
        heard = max(vocabulary.languages.values(), key=lambda token: logits[token])
        chosen = heard if row.language == UNSAID else row.language
        return {chosen: logits[chosen]}
    if vocabulary.languages and len(row.generated) == 1:
        return {vocabulary.tasks["transcribe"] if row.task == UNSAID else row.task: 0.0}
    text = row.generated[2:] if vocabulary.languages else row.generated
    after = list(logits[: vocabulary.size])
    _suppress(vocabulary, after, text)
    if _must_go_on(vocabulary, after, text, row):
        after[vocabulary.end_of_text] = NEVER
    _apply_timestamp_rules(vocabulary, after, text)
    return {token: logit for token, logit in enumerate(after) if logit != NEVER}


def _suppress(vocabulary: Vocabulary, logits: list[float], text: Sequence[int]) -> None:
    if not text:
        for token in vocabulary.suppressed_at_begin:
            logits[token] = NEVER
    for token in vocabulary.suppressed:
        logits[token] = NEVER


def _must_go_on(
    vocabulary: Vocabulary, logits: Sequence[float], text: Sequence[int], row: Row
) -> bool:
    if len(text) < 2 or text[-1] < vocabulary.timestamp_begin:
        return False
    if text[-2] >= vocabulary.timestamp_begin:
        return text[-1] < row.open_end
    is_sure = _log_odds_of_the_end(vocabulary, logits, text) >= SURE
    return text[-1] < row.closed_end and not is_sure


def _log_odds_of_the_end(
    vocabulary: Vocabulary, logits: Sequence[float], text: Sequence[int]
) -> float:
    others = log_sum_exp(read_timestamps(vocabulary, logits, text))
    return logits[vocabulary.end_of_text] - others


def _apply_timestamp_rules(
    vocabulary: Vocabulary, logits: list[float], text: Sequence[int]
) -> None:
    zero, end = vocabulary.timestamp_begin, vocabulary.end_of_text

    def forbid(tokens: range) -> None:
        for token in tokens:
            logits[token] = NEVER

    forbid(range(vocabulary.no_timestamps, vocabulary.no_timestamps + 1))
    last_was_timestamp = len(text) >= 1 and text[-1] >= zero
    penultimate_was_timestamp = len(text) < 2 or text[-2] >= zero
    if last_was_timestamp:
        if penultimate_was_timestamp:  # has to be non-timestamp
            forbid(range(zero, vocabulary.size))
        else:  # cannot be normal text tokens
            forbid(range(end))
    timestamps = [token for token in text if token >= zero]
    if timestamps:
        # timestamps shouldn't decrease; forbid timestamp tokens smaller than the last
        # also force each segment to have a nonzero length, to prevent infinite looping
        closed = last_was_timestamp and not penultimate_was_timestamp
        forbid(range(zero, timestamps[-1] if closed else timestamps[-1] + 1))
    if not text:
        forbid(range(zero))
        forbid(range(vocabulary.max_initial_timestamp + 1, vocabulary.size))
    # if sum of probability over timestamps is above any other token, sample timestamp
    if log_sum_exp(logits[zero:]) > max(logits[:zero]):
        forbid(range(zero))


def is_close_call(vocabulary: Vocabulary, logits: Sequence[float], row: Row) -> bool:
    """Whether float32 may weigh the timestamps against the words otherwise than float64."""
    if len(row.generated) < vocabulary.prefix_length:
        return False
    masked = list(logits[: vocabulary.size])
    text = row.generated[vocabulary.prefix_length :]
    _suppress(vocabulary, masked, text)
    together = log_sum_exp(read_timestamps(vocabulary, masked, text))
    if abs(masked[vocabulary.end_of_text] - together - SURE) < 1e-4:
        return True
    return any(0 < abs(together - logit) < 1e-4 for logit in masked[: vocabulary.timestamp_begin])


def read_timestamps(
    vocabulary: Vocabulary, logits: Sequence[float], text: Sequence[int]
) -> list[float]:
    """The timestamps' logits where every word is out of the question."""
    hopeless = [NEVER] * vocabulary.timestamp_begin
    only = hopeless + list(logits[vocabulary.timestamp_begin : vocabulary.size])
    _apply_timestamp_rules(vocabulary, only, text)
    return only[vocabulary.timestamp_begin :]


def log_sum_exp(values: Sequence[float]) -> float:
    top = max(values, default=NEVER)
    if top == NEVER:
        return NEVER
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def some_logits(chance: random.Random, columns: int, vocabulary: Vocabulary) -> list[float]:
    """Logits as they come, on a coarse grid, so that ties happen; at times timestamps lead."""
    lead = chance.choice((0.0, 0.0, 4.0, -4.0))
    return [
        chance.randrange(-60, 60) / 4 + (lead if token >= vocabulary.timestamp_begin else 0.0)
        for token in range(columns)
    ]


def decode_a_while(
    chance: random.Random, vocabulary: Vocabulary, row: Row, length: int
) -> tuple[int, ...]:
    """What a decoder may have generated after `length` steps, fewer where it came to an end."""
    generated: tuple[int, ...] = ()
    for _ in range(length):
        logits = some_logits(chance, vocabulary.size, vocabulary)
        allowed = read_slowly(vocabulary, logits, replace(row, generated=generated))
        token = chance.choice(sorted(allowed))
        if token == vocabulary.end_of_text:
            break
        generated += (token,)
    return generated


def assert_well_timed(vocabulary: Vocabulary, text: Sequence[int]) -> None:
    """Text and timestamps as Whisper may write them; it may break off anywhere."""
    zero = vocabulary.timestamp_begin
    assert not text or zero <= text[0] <= vocabulary.max_initial_timestamp
    position = latest = 0
    while position < len(text):
        start = text[position]
        assert start >= max(zero, latest), "a segment starts with a timestamp, never earlier"
        position += 1
        begin = position
        while position < len(text) and text[position] < zero:
            position += 1
        if position == len(text):
            return
        assert position > begin, "there is text between a start and an end"
        latest = text[position]
        assert latest > start, "no segment has zero length"
        position += 1
