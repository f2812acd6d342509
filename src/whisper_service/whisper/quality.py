"""Whether a window's text can be trusted (openai/whisper, transcribe.py, decode_with_fallback)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from whisper_service.domain import QualityOptions


class Doubt(StrEnum):
    """Why a window is decoded again at a higher temperature."""

    REPETITIVE = "compression_ratio"
    UNLIKELY = "logprob"


@dataclass(frozen=True)
class Measures:
    """What is known of one try.

    looped: the engine ended it because it repeated itself.
    """

    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    looped: bool = False


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over their size after zlib; repetitive text has a high one.

    The text counts without the space that it begins with (openai/whisper, decoding.py).
    """
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data))


def is_silence(measures: Measures, options: QualityOptions) -> bool:
    """Whether the window is taken for silence, whatever its text says."""
    return (
        measures.no_speech_prob > options.no_speech_threshold
        and measures.avg_logprob <= options.logprob_threshold
    )


def doubt(measures: Measures, options: QualityOptions) -> Doubt | None:
    """The reason to try again, or None where the text is good or the window is silence."""
    if is_silence(measures, options):
        return None
    if measures.looped or measures.compression_ratio > options.compression_ratio_threshold:
        return Doubt.REPETITIVE
    if measures.avg_logprob < options.logprob_threshold:
        return Doubt.UNLIKELY
    return None


def best(tries: Sequence[Measures], options: QualityOptions) -> int:
    """Which try to keep when all are doubted: one without a loop, and of these the likeliest."""

    def rank(index: int) -> tuple[bool, float]:
        one = tries[index]
        repetitive = one.looped or one.compression_ratio > options.compression_ratio_threshold
        return not repetitive, one.avg_logprob

    return max(range(len(tries)), key=rank)
