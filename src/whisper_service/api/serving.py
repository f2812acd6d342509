"""How uvicorn serves the application: bounded connections, one protocol, no surprises."""

from __future__ import annotations

import logging
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from whisper_service.api.connection import ConnectionLimits, bounded_protocol
from whisper_service.api.linger import LingeringClose, LingerLimits
from whisper_service.api.upload import FORM_OVERHEAD
from whisper_service.settings import LOOPBACK, Settings

log = logging.getLogger(__name__)

HEADER_BYTES: Final = 64 * 1024  # of a request; the SDKs' are below 2 KiB
BACKLOG: Final = 1024  # connections that the kernel keeps until they are accepted
_LINGER_SECONDS: Final = 30.0  # for a refused upload to come to its end
_LINGER_IDLE_SECONDS: Final = 5.0
_LAST_ANSWERS_SECONDS: Final = 5  # for answers on their way out after the work is done
_SHORT_KEY: Final = 16  # characters; shorter ones can be guessed over the network
_LOCAL: Final = frozenset({LOOPBACK, "::1", "localhost"})


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """The server that serves `app` on the settings' host and port."""
    linger = LingerLimits(
        bytes=settings.max_upload_bytes + FORM_OVERHEAD,
        seconds=_LINGER_SECONDS,
        idle_seconds=_LINGER_IDLE_SECONDS,
    )
    connection = ConnectionLimits(
        connections=settings.max_connections,
        header_seconds=settings.header_timeout_seconds,
        header_bytes=HEADER_BYTES,
        send_seconds=settings.send_timeout_seconds,
    )
    return uvicorn.Config(
        LingeringClose(app, linger),
        host=settings.listen_host,
        port=settings.port,
        http=bounded_protocol(connection),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
    )


def warn_of_open_doors(settings: Settings) -> None:
    """Says in the log who may use the service, where that is everybody."""
    if any(len(key.get_secret_value()) < _SHORT_KEY for key in settings.api_keys):
        log.warning(
            "an API key is shorter than %d characters: `openssl rand -hex 32` makes a good one",
            _SHORT_KEY,
        )
    if settings.needs_key:
        return
    if settings.listen_host in _LOCAL:
        log.warning(
            "no API key is set (WHISPER_API_KEYS): every program on this machine may use the "
            "service; it listens on %s only",
            settings.listen_host,
        )
    else:
        log.warning(
            "NO API KEY IS SET (WHISPER_API_KEYS) AND THE SERVICE LISTENS ON %s: everybody who "
            "reaches port %d may use it",
            settings.listen_host,
            settings.port,
        )
