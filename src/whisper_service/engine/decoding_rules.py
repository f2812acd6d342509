"""Whisper's decoding rules over a batch of logits: pure tensor code, no engine.

A request's first generated tokens are the language and the task (none in an English-only model);
then text and timestamps follow under the rules of openai/whisper, decoding.py
(SuppressBlank, SuppressTokens, ApplyTimestampRules). One rule is added: a text may not end between
two segments while it is known that there is more speech, unless the model is sure.

The engine returns log-probabilities of the *processed* logits. Some numbers that are needed are
none of these: the raw no-speech probability, and at a temperature above 0 the log-probability
without the temperature. They are sent along as logits of three tokens that can never be generated,
the *carriers*, lowered by `CARRIER_SHIFT` so that they take no probability away.
`engine.logprobs` reads them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whisper_service.domain import Task
from whisper_service.whisper.vocabulary import Vocabulary

CARRIER_SHIFT = 100.0  # e**-100 of probability is none in float32
_NEVER = float("-inf")
NO_TOKEN = -1
# Log-odds of the end against another segment, 4 to 1, from which on it is believed whatever the
# voice activity detection says: measured, it is a crowd's voices then, not a sentence.
_SURE = 1.386


@dataclass(frozen=True)
class Carriers:
    """Tokens whose logits carry a number back to the caller."""

    no_speech: int  # first step: the raw logit of <|nospeech|>
    raw_total: int  # first step: log of the summed exponentials of all raw logits
    allowed_total: int  # the same over the allowed tokens (first step: over all languages)

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Carriers:
        return cls(
            no_speech=vocabulary.no_speech,
            raw_total=vocabulary.start_of_previous,
            allowed_total=vocabulary.start_of_transcript,
        )


@dataclass(frozen=True)
class BatchState:
    """What is known of each row. Plain lists are known to the host, tensors to the device.

    position: tokens that the row has generated.
    language: the token that must come first; NO_TOKEN: the likeliest language.
    task: the token that must come second; NO_TOKEN: <|transcribe|>.
    sampled: rows with a temperature above 0.
    exempt: rows that are not Whisper's to rule (the engine's own dummy runs).
    last, before_last: int64[rows], the latest two tokens of the text, language and task not among
        them; NO_TOKEN where there is none.
    latest_timestamp: int64[rows], the greatest timestamp generated; NO_TOKEN where there is none.
    earliest_end, earliest_open_end: int64[rows], the least timestamp after which the text may end:
        one that closes a segment, and one that begins another.
    """

    position: Sequence[int]
    language: Sequence[int]
    task: Sequence[int]
    sampled: Sequence[int]
    exempt: Sequence[int]
    last: Tensor
    before_last: Tensor
    latest_timestamp: Tensor
    earliest_end: Tensor
    earliest_open_end: Tensor


class DecodingRules:
    """The rules for one checkpoint, its token sets kept on the device of the logits."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device | str) -> None:
        self._vocabulary = vocabulary
        self._carriers = Carriers.of(vocabulary)
        self._default_task = vocabulary.tasks.get(Task.TRANSCRIBE, NO_TOKEN)

        def ids(tokens: Iterable[int]) -> Tensor:
            return torch.tensor(list(tokens), dtype=torch.int64, device=device)

        self._suppressed = ids(vocabulary.suppressed)
        self._suppressed_at_begin = ids(vocabulary.suppressed_at_begin)
        self._languages = ids(vocabulary.languages.values())
        count = vocabulary.size - vocabulary.timestamp_begin
        self._timestamps = torch.arange(count, device=device) + vocabulary.timestamp_begin

    def apply(self, logits: Tensor, state: BatchState) -> Tensor:
        """Changes `logits` in place and returns them.

        Args:
            logits: float32[rows, vocabulary], raw. The engine may have padded the vocabulary:
                columns beyond it are never allowed.
            state: of the same rows.
        """
        prefix = self._vocabulary.prefix_length
        exempt = set(state.exempt)
        ruled = [row for row in range(len(state.position)) if row not in exempt]
        first = [row for row in ruled if state.position[row] == 0]
        second = [row for row in ruled if prefix and state.position[row] == 1]
        text = [row for row in ruled if state.position[row] >= prefix]
        begin = [row for row in text if state.position[row] == prefix]

        kept = logits[state.exempt].clone() if exempt else None
        raw = self._raw_numbers(logits, first) if first else None
        if text:
            self._rule_text(logits, state, begin)
        if second:
            self._force(logits, second, [self._task(state.task[row]) for row in second])
        if first and prefix and raw is not None:
            self._choose_language(logits, first, [state.language[row] for row in first], raw)
        text_rows = set(text)
        self._carry_allowed_total(logits, [row for row in state.sampled if row in text_rows])
        if first and raw is not None:
            logits[first, self._carriers.no_speech] = raw.no_speech - CARRIER_SHIFT
            logits[first, self._carriers.raw_total] = raw.total - CARRIER_SHIFT
        if kept is not None:
            logits[state.exempt] = kept
        return logits

    def _raw_numbers(self, logits: Tensor, rows: Sequence[int]) -> _RawNumbers:
        picked = logits[rows]
        return _RawNumbers(
            total=torch.logsumexp(picked, dim=-1),
            no_speech=picked[:, self._vocabulary.no_speech],
            languages=picked[:, self._languages],
        )

    def _task(self, wanted: int) -> int:
        return self._default_task if wanted == NO_TOKEN else wanted

    def _force(self, logits: Tensor, rows: Sequence[int], tokens: Sequence[int]) -> None:
        logits[rows] = _NEVER
        logits[rows, tokens] = 0.0

    def _choose_language(
        self, logits: Tensor, rows: Sequence[int], wanted: Sequence[int], raw: _RawNumbers
    ) -> None:
        best = self._languages[raw.languages.argmax(dim=-1)]
        given = torch.tensor(wanted, device=logits.device)
        chosen = torch.where(given == NO_TOKEN, best, given)
        index = torch.tensor(rows, device=logits.device)
        logits[index] = _NEVER
        # The other languages are carried too, for who asks for the whole distribution.
        logits[index[:, None], self._languages] = raw.languages - CARRIER_SHIFT
        logits[index, chosen] += CARRIER_SHIFT
        logits[index, self._carriers.allowed_total] = (
            torch.logsumexp(raw.languages, dim=-1) - CARRIER_SHIFT
        )

    def _rule_text(self, logits: Tensor, state: BatchState, begin: Sequence[int]) -> None:
        """The rules of text, on all rows; rows of the prefix are overwritten afterwards."""
        words_end = self._vocabulary.end_of_text
        text_end = self._vocabulary.timestamp_begin
        text = logits[:, :text_end]
        timestamps = logits[:, text_end : self._vocabulary.size]
        logits[:, self._vocabulary.size :] = _NEVER
        logits.index_fill_(1, self._suppressed, _NEVER)

        at_begin = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        if begin:
            at_begin[begin] = True
            logits[
                torch.tensor(begin, device=logits.device)[:, None], self._suppressed_at_begin
            ] = _NEVER
        # Timestamps come in pairs, except before the end of the text.
        after_one = state.last >= text_end
        after_two = after_one & ((state.before_last >= text_end) | (state.before_last == NO_TOKEN))
        closing = after_one & ~after_two  # text, timestamp: now a timestamp or the end
        # They never decrease, and a segment is never of zero length.
        lowest = state.latest_timestamp + torch.where(closing, 0, 1)
        highest = torch.where(
            at_begin, self._vocabulary.max_initial_timestamp, self._vocabulary.size
        )
        forbidden = self._timestamps < lowest[:, None]
        forbidden |= self._timestamps > highest[:, None]
        forbidden |= after_two[:, None]
        timestamps.masked_fill_(forbidden, _NEVER)

        # When timestamps together are likelier than any word, it is time for a timestamp.
        any_timestamp = torch.logsumexp(timestamps, dim=-1)
        end = logits[:, words_end]
        likeliest = torch.where(closing, end, text.amax(dim=-1))
        only_timestamps = at_begin | (any_timestamp > likeliest)
        # The reference may end between two segments, and hear the rest in its next window. There
        # may be none.
        goes_on = after_one & (state.before_last != NO_TOKEN)
        goes_on &= state.latest_timestamp < torch.where(
            closing, state.earliest_end, state.earliest_open_end
        )
        goes_on &= ~closing | (end - any_timestamp < _SURE)
        # Added, not masked: a mask over whole rows takes PyTorch ten times as long on a CPU.
        no_words = torch.where(only_timestamps | closing, _NEVER, 0.0)
        text[:, :words_end].add_(no_words[:, None])
        text[:, words_end:].masked_fill_((only_timestamps | goes_on)[:, None], _NEVER)

    def _carry_allowed_total(self, logits: Tensor, rows: Sequence[int]) -> None:
        if rows:
            total = torch.logsumexp(logits[rows], dim=-1)
            logits[rows, self._carriers.allowed_total] = total - CARRIER_SHIFT


@dataclass(frozen=True)
class _RawNumbers:
    total: Tensor  # float32[rows]
    no_speech: Tensor  # float32[rows]
    languages: Tensor  # float32[rows, languages]
