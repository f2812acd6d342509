"""What a request must pass before any of its body is read, in this order.

Authentication and admission join here. They are dependencies of the routers and run before the
handler; no handler declares a body, so that FastAPI reads none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.params import Depends as DependsMarker

from whisper_service.errors import Fault, ServiceError
from whisper_service.service.contract import State, Transcriber
from whisper_service.settings import Settings


def get_settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


def get_transcriber(request: Request) -> Transcriber:
    return cast(Transcriber, request.app.state.transcriber)


SettingsOf = Annotated[Settings, Depends(get_settings)]
TranscriberOf = Annotated[Transcriber, Depends(get_transcriber)]


async def require_ready(transcriber: TranscriberOf) -> None:
    """Refuse work that could not be done: while starting, draining, or without an engine."""
    match transcriber.state:
        case State.READY:
            return
        case State.DEAD:
            raise ServiceError(
                Fault.ENGINE_DEAD, "The speech engine has stopped; the service is restarting."
            )
        case State.STARTING:
            raise ServiceError(
                Fault.NOT_READY, "The service is starting: the model is being loaded."
            )
        case State.DRAINING:
            raise ServiceError(
                Fault.NOT_READY, "The service is draining: it stops and takes no new work."
            )


GATES: Final[Sequence[DependsMarker]] = (Depends(require_ready),)
