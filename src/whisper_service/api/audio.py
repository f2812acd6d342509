"""`POST audio/transcriptions` and `audio/translations`."""

from __future__ import annotations

import asyncio
import logging
import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from whisper_service import metrics
from whisper_service.api.broken import broken_header
from whisper_service.api.check import check_form
from whisper_service.api.deadline import deadline
from whisper_service.api.disconnect import run_while_connected
from whisper_service.api.event_stream import EventStream
from whisper_service.api.fields import gather
from whisper_service.api.form import SpeechForm, TranscriptionForm, TranslationForm
from whisper_service.api.gate import WORK_GATES, PermitOf, SettingsOf, TranscriberOf
from whisper_service.api.multipart import FormLimits
from whisper_service.api.openapi import form_body, speech_responses
from whisper_service.api.options import read_request
from whisper_service.api.upload import read_form
from whisper_service.domain import Transcript
from whisper_service.formats.events import EventWriter
from whisper_service.formats.formatter import format_transcript
from whisper_service.service.admission import Permit
from whisper_service.service.contract import Listener, Transcriber
from whisper_service.settings import Settings
from whisper_service.telemetry.record import Stage, stage

log = logging.getLogger(__name__)

router = APIRouter(prefix="/audio", tags=["audio"], dependencies=WORK_GATES)

_MOST_BYTES_OF_A_CHARACTER = 4  # in UTF-8


@router.post(
    "/transcriptions",
    name="transcriptions",
    operation_id="createTranscription",
    summary="Transcribe speech in the language that is spoken",
    openapi_extra=form_body(TranscriptionForm),
    response_class=Response,
    responses=speech_responses(streams=True),
)
async def create_transcription(
    request: Request, transcriber: TranscriberOf, settings: SettingsOf, permit: PermitOf
) -> Response:
    return await _answer(request, TranscriptionForm, transcriber, settings, permit)


@router.post(
    "/translations",
    name="translations",
    operation_id="createTranslation",
    summary="Translate speech of any language into English text",
    openapi_extra=form_body(TranslationForm),
    response_class=Response,
    responses=speech_responses(),
)
async def create_translation(
    request: Request, transcriber: TranscriberOf, settings: SettingsOf, permit: PermitOf
) -> Response:
    return await _answer(request, TranslationForm, transcriber, settings, permit)


async def _answer(
    request: Request,
    model: type[SpeechForm],
    transcriber: Transcriber,
    settings: Settings,
    permit: Permit,
) -> Response:
    times = settings.upload_timeout_seconds, settings.upload_idle_seconds
    async with read_form(request, _limits(settings), *times) as form:
        fields = check_form(model, gather(form.fields))
        asked = read_request(fields, transcriber.model, settings)
        request.state.format = asked.response_format.value

        async def work(listener: Listener | None = None) -> Transcript:
            began = time.perf_counter()
            async with deadline(settings.request_timeout_seconds):
                transcript = await run_while_connected(
                    request.receive,
                    transcriber.transcribe(form.file, asked.options, permit, listener),
                )
            _count(transcript, time.perf_counter() - began)
            if settings.log_transcripts:
                log.info("transcript: %s", transcript.text)
            return transcript

        if asked.stream:
            writer = EventWriter(
                asked.response_format,
                logprobs=asked.options.logprobs,
                granularities=asked.granularities,
            )
            return await EventStream.begin(request, work, writer)
        transcript = await work()
    # In a thread: hours of segments take long enough to be noticed by everybody else.
    with stage(Stage.FORMAT):
        formatted = await asyncio.to_thread(
            format_transcript,
            transcript,
            asked.response_format,
            granularities=asked.granularities,
            subtitles=asked.subtitles,
        )
    return Response(
        formatted.body,
        media_type=formatted.media_type,
        headers=broken_header(transcript.broken_at),
    )


def _count(transcript: Transcript, seconds: float) -> None:
    metrics.AUDIO_SECONDS.labels(transcript.task).inc(transcript.duration)
    if seconds > 0:
        metrics.REALTIME_FACTOR.observe(transcript.duration / seconds)


def _limits(settings: Settings) -> FormLimits:
    prompt_bytes = settings.max_prompt_chars * _MOST_BYTES_OF_A_CHARACTER
    return FormLimits(
        file_bytes=settings.max_upload_bytes,
        field_bytes=max(settings.max_field_bytes, prompt_bytes),
        parts=settings.max_form_parts,
    )
