"""A transcript in the format that the caller asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from whisper_service import domain
from whisper_service.domain import Task, Transcript
from whisper_service.formats import sanitize, schema
from whisper_service.formats.response_format import Granularity, ResponseFormat, UsageType
from whisper_service.formats.subtitles import Cue, SubtitleOptions, make_cues, to_srt, to_vtt
from whisper_service.languages import language_name

SEGMENTS_ONLY = frozenset({Granularity.SEGMENT})  # OpenAI's default
DEFAULT_SUBTITLES = SubtitleOptions()


@dataclass(frozen=True)
class Formatted:
    """A response body and its Content-Type."""

    body: bytes  # UTF-8
    media_type: str


def format_transcript(
    transcript: Transcript,
    response_format: ResponseFormat,
    *,
    granularities: frozenset[Granularity] = SEGMENTS_ONLY,
    usage: UsageType = UsageType.DURATION,
    subtitles: SubtitleOptions = DEFAULT_SUBTITLES,
) -> Formatted:
    """The body that answers a request.

    Args:
        transcript: what was said.
        response_format: one of the five.
        granularities: what verbose_json gives times for; an empty set means segments. The other
            formats have no use for it.
        usage: the unit of json's `usage`; verbose_json knows the duration alone.
        subtitles: how srt and vtt are laid out.
    """
    match response_format:
        case ResponseFormat.JSON:
            body = transcription_json(transcript, usage).to_json()
        case ResponseFormat.VERBOSE_JSON:
            body = transcription_verbose_json(transcript, granularities).to_json()
        case ResponseFormat.TEXT:
            body = _encode(transcript.text + "\n")
        case ResponseFormat.SRT:
            body = _encode(to_srt(_cues(transcript, subtitles)))
        case ResponseFormat.VTT:
            body = _encode(to_vtt(_cues(transcript, subtitles)))
    return Formatted(body, response_format.media_type)


def transcription_json(
    transcript: Transcript, usage: UsageType = UsageType.DURATION
) -> schema.TranscriptionJson:
    """The body of `response_format=json`."""
    logprobs = transcript.logprobs
    return schema.TranscriptionJson(
        text=transcript.text,
        logprobs=None if logprobs is None else token_logprobs(logprobs),
        usage=usage_of(transcript, usage),
    )


def transcription_verbose_json(
    transcript: Transcript, granularities: frozenset[Granularity] = SEGMENTS_ONLY
) -> schema.TranscriptionVerboseJson:
    """The body of `response_format=verbose_json`."""
    with_words = Granularity.WORD in granularities
    with_segments = Granularity.SEGMENT in granularities or not granularities
    spoken = language_name(transcript.language)
    return schema.TranscriptionVerboseJson(
        task=transcript.task,
        # a translation is always english: so says OpenAI, and so it is
        language="english" if transcript.task is Task.TRANSLATE else spoken,
        duration=transcript.duration,
        text=transcript.text,
        segments=(
            [
                transcription_segment(segment, with_words=with_words)
                for segment in transcript.segments
            ]
            if with_segments
            else None
        ),
        words=(
            [word for segment in transcript.segments for word in _words(segment.words or ())]
            if with_words
            else None
        ),
        usage=_duration_usage(transcript),
    )


def usage_of(transcript: Transcript, usage: UsageType) -> schema.DurationUsage | schema.TokensUsage:
    """What the request used, in the unit that was asked for."""
    return _duration_usage(transcript) if usage is UsageType.DURATION else tokens_usage(transcript)


def tokens_usage(transcript: Transcript) -> schema.TokensUsage:
    tokens = transcript.usage
    return schema.TokensUsage(
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        total_tokens=tokens.input_tokens + tokens.output_tokens,
        input_token_details=schema.InputTokenDetails(
            audio_tokens=tokens.audio_tokens, text_tokens=tokens.text_tokens
        ),
    )


def _duration_usage(transcript: Transcript) -> schema.DurationUsage:
    # whole seconds, as OpenAI counts them: some typed clients read an integer
    return schema.DurationUsage(seconds=math.ceil(sanitize.seconds(transcript.duration)))


def transcription_segment(
    segment: domain.Segment, *, with_words: bool = False
) -> schema.TranscriptionSegment:
    return schema.TranscriptionSegment(
        id=segment.id,
        seek=segment.seek,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=list(segment.tokens),
        temperature=segment.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
        words=_segment_words(segment.words or ()) if with_words else None,
    )


def _segment_words(words: Iterable[domain.Word]) -> list[schema.SegmentWord]:
    return [
        schema.SegmentWord(
            word=word.word, start=word.start, end=word.end, probability=word.probability
        )
        for word in words
    ]


def _words(words: Iterable[domain.Word]) -> list[schema.TranscriptionWord]:
    return [
        schema.TranscriptionWord(word=word.word.strip(), start=word.start, end=word.end)
        for word in words
        if word.word.strip()
    ]


def token_logprobs(tokens: Iterable[domain.TokenLogprob]) -> list[schema.TokenLogprob]:
    return [
        schema.TokenLogprob(token=token.token, logprob=token.logprob, bytes=list(token.bytes))
        for token in tokens
    ]


def _cues(transcript: Transcript, subtitles: SubtitleOptions) -> list[Cue]:
    return make_cues(transcript.segments, subtitles, transcript.duration)


def _encode(text: str) -> bytes:
    return sanitize.well_formed(text).encode()
