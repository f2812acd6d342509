"""The composition root: builds every part, knows how they belong together, runs the server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from whisper_service.api.app import create_app
from whisper_service.audio.decode import DecodeLimits
from whisper_service.checkpoints.checkpoint import read_checkpoint
from whisper_service.checkpoints.resolve import resolve_model, served_name
from whisper_service.domain import ModelCard
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.profiles import Profile, choose, detect_device
from whisper_service.languages import LANGUAGES
from whisper_service.metrics import ENGINE_INFO
from whisper_service.service.recording import RecordingReader
from whisper_service.service.transcriber import TranscriptionService
from whisper_service.settings import Settings
from whisper_service.whisper.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5  # between two looks at the engine
_LAST_WORDS_SECONDS = 1.0  # for the answers to requests whose engine has died


def build_service(settings: Settings) -> TranscriptionService:
    """Everything below the API, the engine not yet started.

    Raises:
        UnsuitableDeviceError: the profile does not fit this machine.
        EmbeddedModelError: the embedded model cannot be had.
        UnsuitableCheckpointError: the model is no Whisper.
    """
    profile = _with_limits(choose(settings.profile, detect_device()), settings)
    name = settings.model or profile.default_model
    logger.info("profile %s, model %s", profile.name, name)
    model = resolve_model(name, settings.cache_dir)
    checkpoint = read_checkpoint(model)
    engine = WhisperEngine(
        model,
        checkpoint.vocabulary,
        profile,
        overrides=settings.engine_args,
        encoder_cache_windows=settings.encoder_cache_windows,
    )
    limits = DecodeLimits(
        max_seconds=settings.max_audio_seconds, timeout_seconds=settings.decode_timeout_seconds
    )
    return TranscriptionService(
        engine,
        RecordingReader(limits, settings.decode_workers),
        checkpoint.vocabulary,
        checkpoint.tokenizer,
        _card(served_name(name), checkpoint.vocabulary, settings),
        max_windows=profile.max_windows,
        language_threshold=settings.language_threshold,
    )


def _with_limits(profile: Profile, settings: Settings) -> Profile:
    if settings.max_windows_in_flight is None:
        return profile
    arguments = {**profile.engine_args, "max_num_seqs": settings.max_windows_in_flight}
    return replace(profile, engine_args=arguments)


def _card(name: str, vocabulary: Vocabulary, settings: Settings) -> ModelCard:
    return ModelCard(
        id=name,
        created=int(time.time()),
        owned_by="openai",
        languages={code: LANGUAGES[code] for code in vocabulary.languages if code in LANGUAGES},
        aliases=settings.model_aliases,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, with an exit code of ours."""

    exit_code = 0

    def fail(self) -> None:
        self.exit_code = 1
        self.should_exit = True


def run(settings: Settings) -> int:
    """Serves until told to stop. The process's exit code: not 0 where the engine failed."""
    service = build_service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The health routes answer while the engine starts, so the start is no part of the wait.
        watch = asyncio.create_task(_start_and_watch(service, server))
        try:
            yield
        finally:
            watch.cancel()
            await service.drain(settings.drain_seconds)
            await service.stop()
            logger.info("stopped")

    config = uvicorn.Config(
        create_app(settings, service, lifespan=lifespan),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(round(settings.drain_seconds), 1),
    )
    server = _Server(config)
    server.run()
    return server.exit_code


async def _start_and_watch(service: TranscriptionService, server: _Server) -> None:
    try:
        logger.info("starting the engine")
        facts = await service.start()
    except Exception:
        logger.exception("the engine could not be started")
        server.fail()
        return
    ENGINE_INFO.info({name: str(value) for name, value in vars(facts).items()})
    logger.info("ready: http://%s:%d/docs", server.config.host, server.config.port)
    while not service.engine_is_dead:
        await asyncio.sleep(_WATCH_SECONDS)
    logger.critical("the engine has died: stopping, so that a new process takes over")
    await asyncio.sleep(_LAST_WORDS_SECONDS)
    server.fail()
