"""In what the service's answers differ from openai/whisper's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.answers import Answers, Decoded, File
from reference.cases import Cases

# float32 sums in another order; measured differences are below a tenth of each.
LOG_MEL = 1e-5
PROBABILITY = 1e-3
LOG_PROBABILITY = 1e-3
RATIO = 1e-9
# Seconds: one position of the encoder. Attention weights that nearly tie fall either way.
WORD_TIME = 0.021


@dataclass(frozen=True)
class Comparison:
    """differences: one line each. largest: of the numbers compared, in their unit."""

    name: str
    compared: int
    differences: Sequence[str]
    largest: float = 0.0


Check = Callable[[Cases, Answers, Answers], Iterator[tuple[str, Any, Any]]]
"""Yields what is compared: a name, openai/whisper's value and the service's."""


def tokenized_texts(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Any, Any]]:
    """Every text's tokens, with the multilingual and the English-only vocabulary."""
    for model, theirs in openai.tokenizers.items():
        ours = service.tokenizers[model]
        for text, expected, tokens in zip(cases.texts, theirs.texts, ours.texts, strict=True):
            yield f"{model} {text[:40]!r}", expected, tokens


def vocabularies(_: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """Which bytes each token stands for, and which symbols are never generated."""
    for model, theirs in openai.tokenizers.items():
        ours = service.tokenizers[model]
        yield f"{model} bytes", theirs.bytes_of_tokens, ours.bytes_of_tokens
        # The service suppresses every special token inside a text, languages among them.
        text = [token for token in ours.suppressed if token < len(ours.bytes_of_tokens)]
        yield (
            f"{model} suppressed text",
            [token for token in theirs.suppressed if token < len(theirs.bytes_of_tokens)],
            text,
        )
        yield f"{model} suppressed", [], sorted({*theirs.suppressed} - {*ours.suppressed})


def tokens(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """Text and timestamps of each window at temperature 0."""
    for name, theirs, ours in _windows(cases, openai, service):
        yield from _same_tokens(name, theirs, ours)


def prompted_tokens(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Any, Any]]:
    """The same under a prompt."""
    for name, theirs, ours in _prompted(cases, openai, service):
        yield from _same_tokens(name, theirs, ours)


def _same_tokens(name: str, theirs: Decoded, ours: Decoded) -> Iterator[tuple[str, Any, Any]]:
    """The service stops a loop, which openai/whisper lets run to the limit of tokens."""
    yield f"{name} finished", theirs.finished, ours.finished
    expected = list(theirs.tokens)
    yield name, expected if ours.finished else expected[: len(ours.tokens)], list(ours.tokens)


def decoder_prompts(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Any, Any]]:
    """What the decoder is given before the language, without and with a prompt."""
    for name, theirs, ours in _both(cases, openai, service):
        yield name, list(theirs.decoder_prompt), list(ours.decoder_prompt)


def log_probabilities(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Any, Any]]:
    """The average over the tokens of each window whose text came to its end."""
    for name, theirs, ours in _both(cases, openai, service):
        if ours.finished:
            yield name, theirs.avg_logprob, ours.avg_logprob


def no_speech(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """The probability that nobody speaks."""
    for name, theirs, ours in _both(cases, openai, service):
        yield name, theirs.no_speech_prob, ours.no_speech_prob
    for name, their_file, our_file in _clips(cases, openai, service):
        yield name, their_file.no_speech_probs, our_file.no_speech_probs


def languages(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """The language of each window, and the probability of every language."""
    for name, theirs, ours in _windows(cases, openai, service):
        yield name, theirs.language, ours.language
        codes = sorted(theirs.probabilities)
        yield f"{name} languages", codes, sorted(ours.probabilities)
        yield (
            f"{name} probabilities",
            [theirs.probabilities[code] for code in codes],
            [ours.probabilities.get(code, 0.0) for code in codes],
        )


def first_steps(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """Log-probabilities of a hundred tokens, before the rules, after prompts of all lengths."""
    for each in map(str, cases.previous):
        yield f"after {each} tokens", openai.previous[each], service.previous[each]


def log_mel(_: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """What the encoder is given for windows, and for shorter files, whose end is padded."""
    for name, theirs in openai.log_mel.items():
        yield name, theirs, service.log_mel[name]


def texts(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """Each file's text."""
    for name, theirs, ours in _clips(cases, openai, service):
        yield name, theirs.text, ours.text


def word_times(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """When each word of a file is spoken."""
    for name, theirs, ours in _clips(cases, openai, service):
        yield (
            f"{name} words",
            [word.text for word in theirs.words],
            [word.text for word in ours.words],
        )
        if len(theirs.words) == len(ours.words):
            for one, other in zip(theirs.words, ours.words, strict=True):
                yield f"{name} {one.text!r}", [one.start, one.end], [other.start, other.end]


def compression_ratios(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Any, Any]]:
    """Of each segment's window."""
    for name, theirs, ours in _clips(cases, openai, service):
        yield name, theirs.compression_ratios, ours.compression_ratios


def misleading_prompts(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Any, Any]]:
    """A prompt in another language decides neither the language nor the text."""
    pairs = zip(openai.prompted_clips, service.prompted_clips, strict=True)
    for (name, prompt), (theirs, ours) in zip(cases.prompted_clips, pairs, strict=True):
        yield _prompt_name(name, prompt), theirs.language, ours.language
        yield _prompt_name(name, prompt), theirs.text, ours.text


def readings(_: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, Any, Any]]:
    """Recordings of minutes with condition_on_previous_text, word for word."""
    for name, theirs in openai.readings.items():
        yield name, theirs.text.split(), service.readings[name].text.split()


CHECKS: Mapping[str, tuple[Check, float]] = {
    "tokenized texts": (tokenized_texts, 0.0),
    "vocabularies": (vocabularies, 0.0),
    "log-mel": (log_mel, LOG_MEL),
    "decoder prompts": (decoder_prompts, 0.0),
    "tokens": (tokens, 0.0),
    "tokens after a prompt": (prompted_tokens, 0.0),
    "first steps": (first_steps, LOG_PROBABILITY),
    "log-probabilities": (log_probabilities, LOG_PROBABILITY),
    "no-speech probability": (no_speech, PROBABILITY),
    "languages": (languages, PROBABILITY),
    "misleading prompts": (misleading_prompts, 0.0),
    "texts": (texts, 0.0),
    "word times": (word_times, WORD_TIME),
    "compression ratios": (compression_ratios, RATIO),
    "condition_on_previous_text": (readings, 0.0),
}


def compare(name: str, cases: Cases, openai: Answers, service: Answers) -> Comparison:
    """One of `CHECKS`."""
    check, tolerance = CHECKS[name]
    compared, largest = 0, 0.0
    differences = []
    for what, theirs, ours in check(cases, openai, service):
        compared += 1
        distance = _distance(theirs, ours)
        largest = max(largest, distance if distance != np.inf else 0.0)
        if not distance <= tolerance:
            differences.append(f"{what}: {_describe(theirs, ours)}")
    return Comparison(name, compared, differences, largest)


def _distance(theirs: Any, ours: Any) -> float:
    """The largest difference of numbers; infinite where anything else differs."""
    if isinstance(theirs, str) or _is_exact(theirs):
        return 0.0 if theirs == ours else np.inf
    one, other = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    if one.shape != other.shape:
        return np.inf
    return float(np.abs(one - other).max(initial=0.0))


def _is_exact(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int | str) for each in value)


def _describe(theirs: Any, ours: Any) -> str:
    """The first place where two values differ, with what stands around it."""
    if isinstance(theirs, str | float):
        return f"{theirs!r}, the service {ours!r}"
    one, other = np.ravel(np.asarray(theirs)).tolist(), np.ravel(np.asarray(ours)).tolist()
    pairs = enumerate(zip(one, other, strict=False))
    first = next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
    around = slice(max(first - 3, 0), first + 6)
    return f"from {first} of {len(one)}: {one[around]}, the service {other[around]}"


def _windows(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Decoded, Decoded]]:
    for name in cases.windows:
        yield name, openai.windows[name], service.windows[name]


def _prompted(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Decoded, Decoded]]:
    pairs = zip(openai.prompted_windows, service.prompted_windows, strict=True)
    for (name, prompt), (theirs, ours) in zip(cases.prompted_windows, pairs, strict=True):
        yield _prompt_name(name, prompt), theirs, ours


def _both(
    cases: Cases, openai: Answers, service: Answers
) -> Iterator[tuple[str, Decoded, Decoded]]:
    yield from _windows(cases, openai, service)
    yield from _prompted(cases, openai, service)


def _clips(cases: Cases, openai: Answers, service: Answers) -> Iterator[tuple[str, File, File]]:
    for name in cases.clips:
        yield name, openai.clips[name], service.clips[name]


def _prompt_name(name: str, prompt: str) -> str:
    return f"{name} after {prompt[:30]!r}"
