"""The composition root: builds every part and knows how they belong together."""

from __future__ import annotations

import time

from whisper_service.audio.decode import DecodeLimits
from whisper_service.checkpoints.resolve import served_name
from whisper_service.domain import ModelCard
from whisper_service.engine.profiles import Profile
from whisper_service.languages import LANGUAGES
from whisper_service.resolve import ResolvedEngine, resolve_engine
from whisper_service.service.admission import Admission
from whisper_service.service.recording import RecordingReader
from whisper_service.service.transcriber import TranscriptionService
from whisper_service.settings import Settings
from whisper_service.whisper.vocabulary import Vocabulary

_QUEUED_WINDOWS = 16  # that may wait for each that the engine decodes


def build_service(
    settings: Settings, resolved: ResolvedEngine | None = None
) -> TranscriptionService:
    """Everything below the API, the engine not yet started.

    Raises:
        UnsuitableDeviceError: the profile, or the number of engines, does not fit this machine.
        EmbeddedModelError: the embedded model cannot be had.
        UnsuitableCheckpointError: the model is no Whisper.
    """
    resolved = resolved or resolve_engine(settings)
    profile, checkpoint = resolved.profile, resolved.checkpoint
    limits = DecodeLimits(
        max_seconds=settings.max_audio_seconds, timeout_seconds=settings.decode_timeout_seconds
    )
    return TranscriptionService(
        resolved.engine(),
        RecordingReader(limits, settings.decode_workers),
        checkpoint.vocabulary,
        checkpoint.tokenizer,
        _card(served_name(resolved.name), checkpoint.vocabulary, settings),
        max_windows=profile.max_windows,
        language_threshold=settings.language_threshold,
        admission=_admission(profile, settings),
    )


def _admission(profile: Profile, settings: Settings) -> Admission:
    queued = settings.max_queued_windows
    if queued is None:
        queued = _QUEUED_WINDOWS * profile.max_windows
    return Admission(
        windows=profile.max_windows + queued,
        uploads=settings.max_uploads,
        decoders=settings.decode_workers,
    )


def _card(name: str, vocabulary: Vocabulary, settings: Settings) -> ModelCard:
    return ModelCard(
        id=name,
        created=int(time.time()),
        owned_by="openai",
        languages={code: LANGUAGES[code] for code in vocabulary.languages if code in LANGUAGES},
        aliases=settings.model_aliases,
    )
