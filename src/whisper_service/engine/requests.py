"""What the engine is asked, and what it answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from whisper_service.domain import Samples
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.worker.plugin import ARCHITECTURE

_LOWEST_TEMPERATURE = 0.01  # above 0; vLLM raises a lower one to it


@dataclass(frozen=True, eq=False)
class DecodingRequest:
    """One window to decode once.

    key: names the window's samples; tries of the same window share it and so its features.
    language, task: tokens that are forced; NO_TOKEN for the language: the likeliest one.
    goes_on_until: seconds of the window: a text does not end after a time before the first of them,
        or before the second where that time begins a segment.
    seed: of sampling, at a temperature above 0.
    trace_headers: of the trace that the engine goes on with; None: it is not traced.
    keep: whether the window's words will be aligned, by its key.
    """

    samples: Samples
    previous: tuple[int, ...] = ()
    language: int = NO_TOKEN
    task: int = NO_TOKEN
    goes_on_until: tuple[float, float] = (0.0, 0.0)
    temperature: float = 0.0
    seed: int = 0
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    trace_headers: Mapping[str, str] | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        # The temperature is needed again where log-probabilities are read: it must be vLLM's.
        if 0 < self.temperature < _LOWEST_TEMPERATURE:
            object.__setattr__(self, "temperature", _LOWEST_TEMPERATURE)


@dataclass(frozen=True)
class Decoding:
    """What the decoder made of a window.

    tokens: text and timestamps, without language, task and end of text.
    logprobs: of `tokens`, and one more for the end of text where that was reached.
    language: the token that was chosen; NO_TOKEN in an English-only model.
    finished: whether the end of text was reached, and not the token limit or a loop.
    looped: whether the engine ended it because it repeated itself.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    language: int
    language_prob: float
    no_speech_prob: float
    temperature: float
    finished: bool
    looped: bool

    @property
    def avg_logprob(self) -> float:
        """Summed log-probability over the tokens and the end (openai/whisper, decoding.py)."""
        return sum(self.logprobs) / (len(self.tokens) + 1)


@dataclass(frozen=True)
class LanguageEvidence:
    """probabilities: of each language token, among the languages."""

    probabilities: Mapping[int, float]
    no_speech_prob: float


@dataclass(frozen=True)
class EngineFacts:
    """What the engine resolved its arguments to."""

    model: str
    dtype: str
    kv_cache_dtype: str
    attention_backend: str
    compilation: str
    cudagraphs: str
    max_windows: int  # of all engines
    engines: int = 1
    model_class: str = ARCHITECTURE
    own_kernels: str = "none"  # that compute in place of vLLM's

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items())
