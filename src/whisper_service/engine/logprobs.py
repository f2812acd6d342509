"""Reads back what `engine.decoding_rules` sent along in the log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from whisper_service.engine.decoding_rules import CARRIER_SHIFT, Carriers


class FlatLogprobs(Protocol):
    """vLLM's flat container: position i owns [start_indices[i], end_indices[i]).

    The generated token comes first, then the tokens of `logprob_token_ids` in their order.
    """

    start_indices: list[int]
    end_indices: list[int]
    token_ids: list[int]
    logprobs: list[float]


@dataclass(frozen=True)
class FirstStep:
    no_speech_prob: float  # of the raw distribution at <|startoftranscript|>
    language_prob: float  # of the language that was chosen, among the languages


def requested_tokens(carriers: Carriers) -> list[int]:
    """The `logprob_token_ids` of a request."""
    return [carriers.no_speech, carriers.raw_total, carriers.allowed_total]


def first_step(
    logprobs: FlatLogprobs, carriers: Carriers, *, temperature: float, multilingual: bool
) -> FirstStep:
    """What the first generated position says of the window."""
    at = _position(logprobs, 0)
    scale = temperature or 1.0  # the engine divided all logits by it
    no_speech = math.exp((at[carriers.no_speech] - at[carriers.raw_total]) * scale)
    if not multilingual:
        return FirstStep(no_speech_prob=min(no_speech, 1.0), language_prob=1.0)
    token = logprobs.token_ids[logprobs.start_indices[0]]
    language = math.exp((at[token] - at[carriers.allowed_total]) * scale - CARRIER_SHIFT)
    return FirstStep(no_speech_prob=min(no_speech, 1.0), language_prob=min(language, 1.0))


def language_distribution(
    logprobs: FlatLogprobs, carriers: Carriers, tokens: Sequence[int], *, temperature: float
) -> dict[int, float]:
    """Probability of each language token, among the languages; they were asked for by name."""
    at = _position(logprobs, 0)
    scale = temperature or 1.0
    chosen = logprobs.token_ids[logprobs.start_indices[0]]
    total = at[carriers.allowed_total] * scale
    return {
        token: math.exp(at[token] * scale - total - (CARRIER_SHIFT if token == chosen else 0.0))
        for token in tokens
    }


def token_logprobs(
    logprobs: FlatLogprobs, carriers: Carriers, *, temperature: float, skip: int
) -> tuple[float, ...]:
    """The log-probability of each generated token after the rules and without the temperature.

    This is what openai/whisper sums up for its average.
    """
    positions = range(skip, len(logprobs.start_indices))
    if temperature == 0:
        return tuple(logprobs.logprobs[logprobs.start_indices[i]] for i in positions)
    return tuple(_untempered(logprobs, carriers, i, temperature) for i in positions)


def _untempered(
    logprobs: FlatLogprobs, carriers: Carriers, position: int, temperature: float
) -> float:
    at = _position(logprobs, position)
    sampled = logprobs.logprobs[logprobs.start_indices[position]]
    return min((sampled - at[carriers.allowed_total]) * temperature - CARRIER_SHIFT, 0.0)


def _position(logprobs: FlatLogprobs, index: int) -> dict[int, float]:
    span = slice(logprobs.start_indices[index], logprobs.end_indices[index])
    return dict(zip(logprobs.token_ids[span], logprobs.logprobs[span], strict=True))
