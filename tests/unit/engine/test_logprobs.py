from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whisper_service.engine.decoding_rules import NO_TOKEN, Carriers, DecodingRules
from whisper_service.engine.logprobs import (
    first_step,
    language_distribution,
    requested_tokens,
    token_logprobs,
)
from whisper_service.whisper.vocabulary import Vocabulary

from .rows import state_of
from .whispers_rules import Row, english_only, log_sum_exp, multilingual, read_slowly


@dataclass
class Flat:
    """vLLM's `FlatLogprobs`, as much of it as is read."""

    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, tokens: list[int], logprobs: Tensor) -> None:
        self.start_indices.append(len(self.token_ids))
        self.token_ids += tokens
        self.logprobs += [float(logprobs[token]) for token in tokens]
        self.end_indices.append(len(self.token_ids))


@dataclass
class Decoded:
    """A decoding of random logits through the rules, with what the engine would answer."""

    generated: list[int]
    raw: list[Tensor]
    answer: Flat
    sampled: list[Tensor]  # the probabilities that each token was drawn from


def decode(
    vocabulary: Vocabulary, steps: int, temperature: float, seed: int, language: int = NO_TOKEN
) -> Decoded:
    generator = torch.Generator().manual_seed(seed)
    rules, wanted = DecodingRules(vocabulary, "cpu"), requested_tokens(Carriers.of(vocabulary))
    wanted += vocabulary.languages.values()
    decoded = Decoded([], [], Flat(), [])
    for _ in range(steps):
        raw = torch.randn(1, vocabulary.size, generator=generator) * 5
        row = Row(tuple(decoded.generated), language, temperature=temperature)
        ruled = rules.apply(raw.clone(), state_of(vocabulary, [row])) / (temperature or 1.0)
        # As vLLM does it: the processed logits, divided by the temperature.
        logprobs = ruled.log_softmax(dim=-1, dtype=torch.float32)[0]
        probabilities = logprobs.exp()
        token = int(
            torch.multinomial(probabilities, 1, generator=generator)
            if temperature
            else ruled[0].argmax()
        )
        decoded.answer.add([token, *wanted], logprobs)
        decoded.raw.append(raw[0])
        decoded.sampled.append(probabilities)
        decoded.generated.append(token)
        if token == vocabulary.end_of_text:
            break
    return decoded


any_temperature = st.sampled_from((0.0, 0.01, 0.2, 0.6, 1.0))
any_seed = st.integers(0, 2**32)
any_vocabulary = pytest.mark.parametrize(
    "vocabulary", [multilingual(), english_only()], ids=["multilingual", "English-only"]
)
few = settings(max_examples=30, deadline=None)


@any_vocabulary
@few
@given(seed=any_seed, temperature=any_temperature)
def test_the_no_speech_probability_is_that_of_the_raw_distribution(
    vocabulary: Vocabulary, seed: int, temperature: float
) -> None:
    decoded = decode(vocabulary, 1, temperature, seed)
    step = first_step(
        decoded.answer,
        Carriers.of(vocabulary),
        temperature=temperature,
        multilingual=vocabulary.is_multilingual,
    )
    expected = decoded.raw[0].double().softmax(-1)[vocabulary.no_speech]
    assert step.no_speech_prob == pytest.approx(float(expected), abs=1e-4, rel=1e-3)
    assert 0 <= step.no_speech_prob <= 1


@few
@given(seed=any_seed, temperature=any_temperature, language=st.sampled_from((NO_TOKEN, 12, 13, 14)))
def test_the_languages_probabilities_are_those_among_the_languages(
    seed: int, temperature: float, language: int
) -> None:
    vocabulary = multilingual()
    tokens = [*vocabulary.languages.values()]
    decoded = decode(vocabulary, 1, temperature, seed, language)
    expected = dict(zip(tokens, decoded.raw[0].double()[tokens].softmax(-1).tolist(), strict=True))
    heard = language_distribution(
        decoded.answer, Carriers.of(vocabulary), tokens, temperature=temperature
    )
    assert heard == pytest.approx(expected, abs=1e-4, rel=1e-3)
    step = first_step(
        decoded.answer, Carriers.of(vocabulary), temperature=temperature, multilingual=True
    )
    chosen = decoded.generated[0]
    assert chosen == (max(expected, key=expected.__getitem__) if language == NO_TOKEN else language)
    assert step.language_prob == pytest.approx(expected[chosen], abs=1e-4, rel=1e-3)


@any_vocabulary
@few
@given(seed=any_seed, temperature=any_temperature)
def test_the_log_probabilities_are_without_the_temperature_and_after_the_rules(
    vocabulary: Vocabulary, seed: int, temperature: float
) -> None:
    decoded = decode(vocabulary, vocabulary.prefix_length + 8, temperature, seed)
    prefix = vocabulary.prefix_length
    read = token_logprobs(
        decoded.answer, Carriers.of(vocabulary), temperature=temperature, skip=prefix
    )
    expected = []
    for position, token in list(enumerate(decoded.generated))[prefix:]:
        row = Row(tuple(decoded.generated[:position]))
        allowed = read_slowly(vocabulary, decoded.raw[position].tolist(), row)
        expected.append(allowed[token] - log_sum_exp([*allowed.values()]))
    assert read == pytest.approx(tuple(expected), abs=1e-3)
    assert all(logprob <= 0 for logprob in read)


@any_vocabulary
@few
@given(seed=any_seed, temperature=any_temperature)
def test_a_carrier_is_never_drawn(vocabulary: Vocabulary, seed: int, temperature: float) -> None:
    carriers = requested_tokens(Carriers.of(vocabulary))
    decoded = decode(vocabulary, vocabulary.prefix_length + 6, temperature, seed)
    assert not set(decoded.generated) & set(carriers)
    for probabilities in decoded.sampled:
        assert float(probabilities[carriers].sum()) < 1e-20


def test_a_language_that_is_not_the_likeliest_is_never_drawn_either() -> None:
    vocabulary = multilingual()
    for language in vocabulary.languages.values():
        (probabilities,) = decode(vocabulary, 1, 1.0, seed=3, language=language).sampled
        others = [*{*vocabulary.languages.values()} - {language}]
        assert float(probabilities[others].sum()) < 1e-20


def test_an_english_only_model_is_always_sure_of_its_language() -> None:
    vocabulary = english_only()
    decoded = decode(vocabulary, 1, 0.0, seed=0)
    step = first_step(decoded.answer, Carriers.of(vocabulary), temperature=0.0, multilingual=False)
    assert step.language_prob == 1.0


def test_certainty_is_not_lost_to_rounding() -> None:
    vocabulary = multilingual()
    raw = torch.full((1, vocabulary.size), -40.0)
    raw[0, vocabulary.no_speech] = 40.0
    ruled = DecodingRules(vocabulary, "cpu").apply(raw, state_of(vocabulary, [Row(())]))
    answer = Flat()
    answer.add([12, *requested_tokens(Carriers.of(vocabulary))], ruled.log_softmax(-1)[0])
    step = first_step(answer, Carriers.of(vocabulary), temperature=0.0, multilingual=True)
    assert step.no_speech_prob == pytest.approx(1.0, abs=1e-4)
    assert step.language_prob == pytest.approx(1 / 3, abs=1e-4)
    assert math.isfinite(step.language_prob)
