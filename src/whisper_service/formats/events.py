"""The events of `stream=true`: OpenAI's, and one of ours for `verbose_json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from whisper_service.domain import SpokenSegment, Task, Transcript
from whisper_service.formats.formatter import (
    SEGMENTS_ONLY,
    token_logprobs,
    tokens_usage,
    transcription_segment,
    transcription_verbose_json,
)
from whisper_service.formats.response_format import Granularity, ResponseFormat
from whisper_service.formats.schema import (
    Body,
    Seconds,
    Text,
    TokenLogprob,
    TokensUsage,
    TranscriptionSegment,
    TranscriptionWord,
    left_out,
)


class TranscriptTextDelta(Body):
    """More of the text. All deltas together are the text, to the letter."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: Text = Field(description="What comes next.", examples=["Hello, world."])
    logprobs: list[TokenLogprob] | SkipJsonSchema[None] = Field(
        default=None,
        description="The delta's tokens, when `include[]=logprobs` was asked for.",
        json_schema_extra=left_out,
    )


class TranscriptTextSegment(TranscriptionSegment):
    """Not OpenAI's: a whole segment, with `response_format=verbose_json`, after its delta."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"


class TranscriptTextDone(Body):
    """The whole text; the last event."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: Text = Field(description="The transcript.")
    logprobs: list[TokenLogprob] | SkipJsonSchema[None] = Field(
        default=None,
        description="The transcript's tokens, when `include[]=logprobs` was asked for.",
        json_schema_extra=left_out,
    )
    usage: TokensUsage = Field(description="What the request used.")
    task: Task | SkipJsonSchema[None] = Field(
        default=None,
        description="Not OpenAI's: as in `verbose_json`, with that format.",
        json_schema_extra=left_out,
    )
    language: Text | SkipJsonSchema[None] = Field(
        default=None,
        description="Not OpenAI's: as in `verbose_json`, with that format.",
        json_schema_extra=left_out,
    )
    duration: Seconds | SkipJsonSchema[None] = Field(
        default=None,
        description="Not OpenAI's: as in `verbose_json`, with that format.",
        json_schema_extra=left_out,
    )
    words: list[TranscriptionWord] | SkipJsonSchema[None] = Field(
        default=None,
        description="Not OpenAI's: as in `verbose_json`, with that format.",
        json_schema_extra=left_out,
    )


Event = TranscriptTextDelta | TranscriptTextSegment | TranscriptTextDone


class EventWriter:
    """One answer's events, in order."""

    def __init__(
        self,
        response_format: ResponseFormat,
        *,
        logprobs: bool,
        granularities: frozenset[Granularity] = SEGMENTS_ONLY,
    ) -> None:
        self._verbose = response_format is ResponseFormat.VERBOSE_JSON
        self._granularities = granularities
        self._logprobs = logprobs
        self._begun = False
        self._space = ""  # that is sent only if text follows it: the transcript is stripped

    def segment(self, spoken: SpokenSegment) -> Iterator[Event]:
        delta = self._next(spoken.segment.text)
        if delta:
            yield TranscriptTextDelta(
                delta=delta, logprobs=token_logprobs(spoken.logprobs) if self._logprobs else None
            )
        if self._verbose:
            with_words = Granularity.WORD in self._granularities
            segment = transcription_segment(spoken.segment, with_words=with_words)
            yield TranscriptTextSegment(**segment.model_dump(exclude_none=True))

    def done(self, transcript: Transcript) -> TranscriptTextDone:
        ours = {"task", "language", "duration", "words"} if self._verbose else set()
        return TranscriptTextDone(
            text=transcript.text,
            logprobs=token_logprobs(transcript.logprobs) if transcript.logprobs else None,
            usage=tokens_usage(transcript),
            **transcription_verbose_json(transcript, self._granularities).model_dump(include=ours),
        )

    def _next(self, text: str) -> str:
        text = self._space + text if self._begun else text.lstrip()
        delta = text.rstrip()
        self._space = text[len(delta) :]
        self._begun = self._begun or bool(delta)
        return delta
