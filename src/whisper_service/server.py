"""The process: serves until it is told to stop, drains, and ends with a code that says how."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from whisper_service.api.app import create_app
from whisper_service.api.serving import server_config, warn_of_open_doors
from whisper_service.build import build_service
from whisper_service.metrics import ENGINE_INFO
from whisper_service.resolve import resolve_engine
from whisper_service.service.transcriber import TranscriptionService
from whisper_service.settings import Settings
from whisper_service.telemetry.tracing import configure_tracing, stop_tracing

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's server, with a stop of ours.

    The first signal: readiness fails and new work is refused, while the port is still open and
    what was accepted goes on; then the server stops, with exit code 0. The second: at once.
    """

    exit_code = 0

    def __init__(
        self,
        config: uvicorn.Config,
        service: TranscriptionService,
        drain_seconds: float,
        clean_up: Callable[[], None],
    ) -> None:
        """`clean_up`: what must not stay behind where the process ends at once."""
        super().__init__(config)
        self._service = service
        self._drain_seconds = drain_seconds
        self._clean_up = clean_up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    def watch(self) -> asyncio.Task[None]:
        """Starts the engine, and watches it from then on."""
        self._loop = asyncio.get_running_loop()
        return self._loop.create_task(_start_and_watch(self._service, self))

    @property
    def is_stopping(self) -> bool:
        return self.should_exit or self._draining is not None

    def fail(self) -> None:
        self.exit_code = 1
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._loop is None:
            self.should_exit = True
        elif self._draining is None:
            # The handler interrupts the loop anywhere: it may only leave word for it.
            self._loop.call_soon_threadsafe(self._drain)
        else:
            _end_at_once(self._clean_up)

    def _drain(self) -> None:
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        await self._service.drain(self._drain_seconds)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: the stop was orderly."""
        kept = {each: signal.signal(each, self.handle_exit) for each in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for each, handler in kept.items():
                signal.signal(each, handler)


def _end_at_once(clean_up: Callable[[], None]) -> None:
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)  # noqa: SLF001
    for process in _processes_below(os.getpid()):
        if process != tracker:  # which takes shared memory away when all others are gone
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    clean_up()
    os._exit(1)


def _processes_below(process: int) -> list[int]:
    """All descendants: the engine's own processes too, which would notice its end too late."""
    below: list[int] = []
    with suppress(OSError):  # it has ended meanwhile
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                below += [child, *_processes_below(child)]
    return below


def run(settings: Settings) -> int:
    """Serves until told to stop. The process's exit code: not 0 where the engine failed."""
    warn_of_open_doors(settings)
    if settings.traces_endpoint:
        configure_tracing(settings.traces_endpoint)
    resolved = resolve_engine(settings)
    service = build_service(settings, resolved)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The health routes answer while the engine starts, so the start is no part of the wait.
        watch = server.watch()
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await service.stop()
            await asyncio.to_thread(stop_tracing)
            logger.info("stopped")

    config = server_config(create_app(settings, service, lifespan=lifespan), settings)
    server = _Server(config, service, settings.drain_seconds, resolved.launcher.stop)
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
    await service.engine_death()
    if server.is_stopping:
        return  # Ctrl-C reaches the engine's process as well as this one
    logger.critical("the engine has died: stopping, so that a new process takes over")
    await service.last_words()
    server.fail()
