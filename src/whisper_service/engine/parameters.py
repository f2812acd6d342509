"""What a request tells the decoding rules, and what the engine tells them of the model.

Both travel between processes inside vLLM's own structures, as plain JSON-like data.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.whisper.vocabulary import Vocabulary

_KEY = "whisper"
_NAME = "whisper_window"


@dataclass(frozen=True)
class RuleParameters:
    """One request's part in the rules.

    NO_TOKEN: the likeliest language, <|transcribe|>, and a text that may end anywhere. It may end
    after a timestamp of at least `earliest_end`, or of `earliest_open_end` where that begins a
    segment.
    """

    language: int = NO_TOKEN
    task: int = NO_TOKEN
    earliest_end: int = NO_TOKEN
    earliest_open_end: int = NO_TOKEN

    def as_extra_args(self) -> dict[str, Any]:
        """For `SamplingParams.extra_args`."""
        return {_KEY: asdict(self)}

    @classmethod
    def from_extra_args(cls, extra: dict[str, Any] | None) -> RuleParameters | None:
        """None: not a request of this service's, so that no rule applies to it."""
        return cls(**extra[_KEY]) if extra and _KEY in extra else None


def name_args(name: str) -> dict[str, Any]:
    """For `SamplingParams.extra_args`: the encoder's output of the window is kept by this name."""
    return {_NAME: name}


def name_of(extra: dict[str, Any] | None) -> str | None:
    """The name that `name_args` gave; None: nobody will ask for the window's encoder output."""
    return (extra or {}).get(_NAME)


def vocabulary_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """For `AsyncEngineArgs.additional_config`."""
    return {_KEY: asdict(vocabulary)}


def vocabulary_of(additional_config: Any) -> Vocabulary:
    """The vocabulary that `vocabulary_config` sent.

    Raises:
        ValueError: the engine was not started by this service.
    """
    if not isinstance(additional_config, dict) or _KEY not in additional_config:
        raise ValueError("additional_config lacks the Whisper vocabulary")
    fields = dict(additional_config[_KEY])
    for name in ("suppressed", "suppressed_at_begin"):
        fields[name] = tuple(fields[name])
    return Vocabulary(**fields)
