"""The application: routes, middleware and error handlers put together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from whisper_service import __version__
from whisper_service.api import audio, docs, health, models
from whisper_service.api.access import AccessMiddleware
from whisper_service.api.errors import install_error_handlers
from whisper_service.api.failures import FailureMiddleware
from whisper_service.api.keys import KeyRing
from whisper_service.api.openapi import DESCRIPTION, complete
from whisper_service.api.playground import routes as playground
from whisper_service.api.request_id import RequestIdMiddleware
from whisper_service.service.contract import Transcriber
from whisper_service.settings import Settings

PREFIX: Final = "/api/v1"
ALIAS: Final = "/v1"  # what OpenAI's SDKs append to a bare host; not in the OpenAPI document twice

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def create_app(
    settings: Settings, transcriber: Transcriber, *, lifespan: Lifespan | None = None
) -> FastAPI:
    """The ASGI application that serves `transcriber`.

    Args:
        settings: limits and defaults of the requests.
        transcriber: may still be starting; until it is ready, requests are refused.
        lifespan: runs around the application's life: starts and stops what the transcriber needs.
    """
    app = FastAPI(
        title="whisper-service",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # docs.router serves it, behind a key where that is wanted
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
        redirect_slashes=False,  # a redirected upload would be sent twice
    )
    app.state.settings = settings
    app.state.transcriber = transcriber
    app.state.keys = KeyRing.of(settings)

    for router in (audio.router, models.router):
        app.include_router(router, prefix=PREFIX)
        app.include_router(router, prefix=ALIAS, include_in_schema=False)
    app.include_router(health.router)
    app.include_router(docs.router)
    app.include_router(playground.router)

    install_error_handlers(app)
    # The last one added is the outermost: the id is there for the log line, the log line for a 500.
    app.add_middleware(FailureMiddleware)
    app.add_middleware(AccessMiddleware)
    app.add_middleware(RequestIdMiddleware)

    document = _document(app, settings)
    app.openapi = lambda: document  # type: ignore[method-assign]
    return app


def _document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    return complete(
        get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version=app.openapi_version,
        ),
        settings,
    )
