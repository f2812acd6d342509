"""A checked form becomes what the service is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whisper_service.api.form import ServerVad, SpeechForm, TranscriptionForm
from whisper_service.api.models import check_served
from whisper_service.api.refusals import invalid, shorten
from whisper_service.domain import (
    ModelCard,
    QualityOptions,
    SpeechOptions,
    Task,
    TranscriptionOptions,
)
from whisper_service.errors import Fault, ServiceError
from whisper_service.formats.response_format import Granularity, ResponseFormat
from whisper_service.formats.subtitles import SubtitleOptions
from whisper_service.languages import resolve_language
from whisper_service.settings import Settings

FALLBACK: Final = TranscriptionOptions().temperatures
_SUBTITLES: Final = frozenset({ResponseFormat.SRT, ResponseFormat.VTT})
_FIND_OUT: Final = frozenset({"", "auto"})  # what clients send that have no language to name
_LAYOUT: Final = ("max_line_width", "max_line_count", "max_cue_seconds")


@dataclass(frozen=True)
class SpeechRequest:
    """What a client asked for: `options` of the engine, the rest of the answer."""

    options: TranscriptionOptions
    response_format: ResponseFormat
    granularities: frozenset[Granularity]
    subtitles: SubtitleOptions
    stream: bool = False


def read_request(form: SpeechForm, card: ModelCard, settings: Settings) -> SpeechRequest:
    """The request that a form stands for, on the model that is served.

    Raises:
        ServiceError: the model is another one, or cannot do what is asked.
    """
    check_served(form.model, card)
    _check_prompt(form.prompt, settings.max_prompt_chars)
    subtitles = _subtitles(form)
    transcription = form if isinstance(form, TranscriptionForm) else None
    if transcription:
        _check_answer(transcription)
        task, language = Task.TRANSCRIBE, _language(transcription.language, card)
        granularities = frozenset(transcription.timestamp_granularities)
    else:
        _check_translates(card)
        task, language = Task.TRANSLATE, None
        granularities = frozenset({Granularity.SEGMENT})

    options = TranscriptionOptions(
        task=task,
        language=language,
        prompt=form.prompt,
        speech=_speech(form, settings),
        quality=_quality(form, settings),
        condition_on_previous_text=form.condition_on_previous_text,
        logprobs=bool(transcription and transcription.include),
        words=bool(transcription and _needs_words(transcription)),
        hallucination_silence_seconds=(
            transcription.hallucination_silence_threshold if transcription else None
        ),
        temperatures=(form.temperature,) if form.temperature > 0 else FALLBACK,
    )
    stream = bool(transcription and transcription.stream)
    return SpeechRequest(options, form.response_format, granularities, subtitles, stream)


def _check_prompt(prompt: str, limit: int) -> None:
    if len(prompt) > limit:
        raise invalid("prompt", f"has {len(prompt)} characters; at most {limit} are taken.")


def _check_answer(form: TranscriptionForm) -> None:
    """What can be asked for only together."""
    verbose = form.response_format is ResponseFormat.VERBOSE_JSON
    if Granularity.WORD in form.timestamp_granularities and not verbose:
        raise invalid(
            "timestamp_granularities",
            "with 'word' needs response_format 'verbose_json'; 'srt' and 'vtt' take "
            "word_timestamps=true.",
        )
    if form.word_timestamps and form.response_format not in _SUBTITLES:
        raise invalid(
            "word_timestamps",
            "needs response_format 'srt' or 'vtt'; 'verbose_json' takes "
            "timestamp_granularities[]=word.",
        )
    if form.include and form.response_format is not ResponseFormat.JSON:
        raise invalid("include", "needs response_format 'json'.")
    if form.stream and form.response_format in _SUBTITLES:
        raise invalid(
            "stream",
            f"gives events, not {form.response_format.value!r}: with it, ask for response_format "
            "'json', 'text' or 'verbose_json'.",
        )


def _needs_words(form: TranscriptionForm) -> bool:
    return (
        Granularity.WORD in form.timestamp_granularities
        or form.word_timestamps
        or form.hallucination_silence_threshold is not None
        # Where a subtitle may be cut, and how long its text is spoken, only the words tell.
        or any(getattr(form, name) is not None for name in _LAYOUT)
    )


def _subtitles(form: SpeechForm) -> SubtitleOptions:
    asked = {name: getattr(form, name) for name in _LAYOUT if getattr(form, name) is not None}
    if asked and form.response_format not in _SUBTITLES:
        raise invalid(next(iter(asked)), "needs response_format 'srt' or 'vtt'.")
    default = SubtitleOptions()
    return SubtitleOptions(
        max_line_chars=asked.get("max_line_width", default.max_line_chars),
        max_lines=asked.get("max_line_count", default.max_lines),
        max_seconds=asked.get("max_cue_seconds"),
        words=isinstance(form, TranscriptionForm) and form.word_timestamps,
    )


def _check_translates(card: ModelCard) -> None:
    if not card.languages:
        raise ServiceError(
            Fault.UNSUPPORTED_VALUE,
            f"The served model, {card.id!r}, knows English only: it cannot translate.",
            "model",
        )


def _language(name: str | None, card: ModelCard) -> str | None:
    if name is None or name.strip().lower() in _FIND_OUT:
        return None
    code = resolve_language(name)
    known = card.languages or {"en": "english"}
    if code is None or code not in known:
        raise invalid(
            "language",
            f"is {shorten(name)!r}, which the served model does not know. Leave it out and the "
            f"language is detected, or send an ISO-639-1 code, one of {', '.join(sorted(known))}.",
        )
    return code


def _speech(form: SpeechForm, settings: Settings) -> SpeechOptions | None:
    """The form's own wish, else its chunking strategy, else the server's default."""
    chunking = form.chunking_strategy if isinstance(form, TranscriptionForm) else None
    wanted = settings.vad_filter if form.vad_filter is None else form.vad_filter
    if isinstance(chunking, ServerVad):
        if form.vad_filter is False:
            raise invalid(
                "vad_filter", "is false, but 'chunking_strategy' asks for it: send one of them."
            )
        return SpeechOptions(
            threshold=chunking.threshold,
            prefix_padding_ms=chunking.prefix_padding_ms,
            silence_duration_ms=chunking.silence_duration_ms,
        )
    if chunking == "auto" and form.vad_filter is None:
        return SpeechOptions()
    return SpeechOptions() if wanted else None


def _quality(form: SpeechForm, settings: Settings) -> QualityOptions:
    def chosen(asked: float | None, default: float) -> float:
        return default if asked is None else asked

    return QualityOptions(
        compression_ratio_threshold=chosen(
            form.compression_ratio_threshold, settings.compression_ratio_threshold
        ),
        logprob_threshold=chosen(form.logprob_threshold, settings.logprob_threshold),
        no_speech_threshold=chosen(form.no_speech_threshold, settings.no_speech_threshold),
    )
