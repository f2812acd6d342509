"""One replica of the service under Ray Serve: the same application, an engine of its own.

`serve deploy deploy/ray/serve.yaml` runs it; settings are environment variables, as everywhere,
given in `ray_actor_options.runtime_env.env_vars`. Ray's proxy takes the connections, so limits of
connections (`WHISPER_MAX_CONNECTIONS` and the times of headers and sends) are its proxy's business.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from ray import serve

from whisper_service.api.app import create_app
from whisper_service.build import build_service
from whisper_service.cluster.autoscaling import WINDOWS
from whisper_service.cluster.metrics_port import show_metrics
from whisper_service.logs import configure_logging
from whisper_service.metrics import ENGINE_INFO
from whisper_service.service.contract import State
from whisper_service.settings import load_settings
from whisper_service.telemetry.tracing import configure_tracing, stop_tracing

log = logging.getLogger(__name__)


class WhisperReplica:
    """Ray routes requests to it from the end of its constructor, until it is told to stop."""

    async def __init__(self) -> None:  # type: ignore[misc]  # Ray awaits it
        """Starts the engine and warms it up, which takes minutes."""
        self._settings = load_settings()
        configure_logging(self._settings.log_level, self._settings.log_format)
        if self._settings.traces_endpoint:
            configure_tracing(self._settings.traces_endpoint)
        # In a thread: Ray asks for the replica's state meanwhile.
        self._service = await asyncio.to_thread(build_service, self._settings)
        facts = await self._service.start()
        ENGINE_INFO.info({name: str(value) for name, value in vars(facts).items()})
        if self._settings.replica_metrics_port:
            port = show_metrics(self._settings.replica_metrics_port)
            log.info("metrics: port %d", port)
        self._watching = asyncio.create_task(self._end_with_the_engine())
        log.info("ready")

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray once the constructor is done."""

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            # Ray has waited for the requests under way before it ends the application.
            try:
                yield
            finally:
                self._watching.cancel()
                await self._service.stop()
                await asyncio.to_thread(stop_tracing)

        return create_app(self._settings, self._service, lifespan=lifespan)

    async def _end_with_the_engine(self) -> None:
        """Ends the process when the engine dies.

        Ray sends nothing more to a process that has gone. One whose health check fails it believes
        only after the third time, and until then it prefers it: nothing fails as fast.
        """
        await self._service.engine_death()
        log.critical("the engine has died: ending, so that a new replica takes over")
        await self._service.last_words()
        os._exit(1)

    def check_health(self) -> None:
        """Ray asks every few seconds, and starts another replica in the place of one that raises.

        Raises:
            RuntimeError: the engine is dead.
        """
        if self._service.state is State.DEAD:
            raise RuntimeError("the engine has died")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `cluster.autoscaling.WindowsPolicy` goes by."""
        return {WINDOWS: float(self._service.accepted_windows)}


# Not as decorators: Ray could then not find the class by its name, and would have to pickle it with
# all that its methods use, locks included.
_deployment = serve.deployment(name="whisper")(serve.ingress()(WhisperReplica))  # type: ignore[no-untyped-call,unused-ignore]
application = _deployment.bind()
