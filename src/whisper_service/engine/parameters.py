"""What a request tells the decoding rules, and what the engine tells them of the model.

Both travel between processes inside vLLM's own structures, as plain JSON-like data.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.whisper.vocabulary import Vocabulary

_KEY = "whisper"
_MODEL = "whisper_model"
_ALIGNED_LATER = "words-"  # before a key


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


@dataclass(frozen=True)
class WindowName:
    """What the encoder's output of a window is kept by.

    key: the same for all requests for the window.
    is_aligned_later: whether the output is kept until the window's words are aligned.
    """

    key: str
    is_aligned_later: bool = False

    def as_uuid(self) -> str:
        """For `multi_modal_uuids`: vLLM sends what it has processed once for each of them."""
        return f"{_ALIGNED_LATER}{self.key}" if self.is_aligned_later else self.key

    @classmethod
    def from_uuid(cls, uuid: str) -> WindowName:
        key = uuid.removeprefix(_ALIGNED_LATER)
        return cls(key, is_aligned_later=key != uuid)


@dataclass(frozen=True)
class ModelOptions:
    """What the model class is told beside the checkpoint's own configuration.

    encoder_cache_windows: whose encoder outputs are kept for a retry.
    alignment_heads: those whose attention follows the speech, as (layer, head); none: all heads of
        the upper half of the decoder's layers.
    """

    encoder_cache_windows: int = 0
    alignment_heads: tuple[tuple[int, int], ...] = ()

    def as_config(self) -> dict[str, Any]:
        """For `AsyncEngineArgs.additional_config`."""
        return {_MODEL: asdict(self)}

    @classmethod
    def from_config(cls, additional_config: Any) -> ModelOptions:
        """The defaults where the engine was not started by this service."""
        fields = additional_config.get(_MODEL) if isinstance(additional_config, dict) else None
        if not fields:
            return cls()
        heads = tuple((int(layer), int(head)) for layer, head in fields["alignment_heads"])
        return cls(int(fields["encoder_cache_windows"]), heads)


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
