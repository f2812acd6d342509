"""One answer in every format, by the service's own formatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whisper_service.cli.plan import Format
from whisper_service.domain import Segment, Task, Transcript, Word
from whisper_service.formats.formatter import format_transcript
from whisper_service.formats.response_format import Granularity, ResponseFormat
from whisper_service.languages import resolve_language

_RESPONSE_FORMATS = {
    Format.TXT: ResponseFormat.TEXT,
    Format.SRT: ResponseFormat.SRT,
    Format.VTT: ResponseFormat.VTT,
    Format.JSON: ResponseFormat.VERBOSE_JSON,
}


def render(body: Mapping[str, Any], text_format: Format) -> bytes:
    """The text of a `verbose_json` body, as the service itself would have written it."""
    transcript = read_transcript(body)
    with_words = any(segment.words is not None for segment in transcript.segments)
    granularities = {Granularity.SEGMENT} | ({Granularity.WORD} if with_words else set())
    return format_transcript(
        transcript, _RESPONSE_FORMATS[text_format], granularities=frozenset(granularities)
    ).body


def read_transcript(body: Mapping[str, Any]) -> Transcript:
    return Transcript(
        task=Task(body["task"]),
        language=resolve_language(body["language"]) or body["language"],
        duration=body["duration"],
        segments=tuple(_segment(each) for each in body.get("segments") or ()),
    )


def _segment(body: Mapping[str, Any]) -> Segment:
    words: Sequence[Mapping[str, Any]] | None = body.get("words")
    return Segment(
        id=body["id"],
        seek=body["seek"],
        start=body["start"],
        end=body["end"],
        text=body["text"],
        tokens=tuple(body["tokens"]),
        temperature=body["temperature"],
        avg_logprob=body["avg_logprob"],
        compression_ratio=body["compression_ratio"],
        no_speech_prob=body["no_speech_prob"],
        words=None
        if words is None
        else tuple(
            Word(each["word"], each["start"], each["end"], each.get("probability", 1.0))
            for each in words
        ),
    )
