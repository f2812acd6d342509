"""What a request must pass before any of its body is read, in this order: key, state, admission.

They are dependencies of the routers and run before the handler; no handler declares a body, so that
FastAPI reads none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.params import Depends as DependsMarker

from whisper_service import metrics
from whisper_service.api.connection import CROWDED
from whisper_service.api.keys import NO_KEY, WRONG_KEY, KeyRing, bearer_key, network_of
from whisper_service.errors import ENGINE_DIED, Fault, ServiceError
from whisper_service.service.admission import Permit
from whisper_service.service.contract import State, Transcriber
from whisper_service.settings import Settings


def get_settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


def get_transcriber(request: Request) -> Transcriber:
    return cast(Transcriber, request.app.state.transcriber)


SettingsOf = Annotated[Settings, Depends(get_settings)]
TranscriberOf = Annotated[Transcriber, Depends(get_transcriber)]


async def identify_user(request: Request) -> str:
    """Whose request it is, among whom the service is shared: a key's name, else an address.

    Raises:
        ServiceError: UNAUTHORIZED.
    """
    keys = cast(KeyRing, request.app.state.keys)
    if not keys:
        return network_of(request.client.host if request.client else None)
    offered = bearer_key(request.headers.get("authorization"))
    name = keys.name_of(offered) if offered else None
    if name is None:
        raise _refused("key", Fault.UNAUTHORIZED, WRONG_KEY if offered else NO_KEY)
    request.state.user = name  # for the access log
    return name


UserOf = Annotated[str, Depends(identify_user)]


async def guard_metrics(request: Request, settings: SettingsOf) -> None:
    if not settings.public_metrics:
        await identify_user(request)


async def guard_docs(request: Request, settings: SettingsOf) -> None:
    if not settings.public_docs:
        await identify_user(request)


async def require_ready(transcriber: TranscriberOf) -> None:
    """Refuse work that could not be done: while starting, draining, or without an engine."""
    match transcriber.state:
        case State.READY:
            return
        case State.DEAD:
            fault, message = Fault.ENGINE_DEAD, ENGINE_DIED
        case State.STARTING:
            fault, message = (
                Fault.NOT_READY,
                "The service is starting: the model is being loaded.",
            )
        case State.DRAINING:
            fault, message = (
                Fault.NOT_READY,
                "The service is draining: it stops and takes no new work.",
            )
    raise _refused("state", fault, message)


async def admit(
    request: Request, user: UserOf, transcriber: TranscriberOf
) -> AsyncIterator[Permit]:
    """The request's permit, held until its answer is sent to the end, streams included."""
    if getattr(request.state, CROWDED, False):
        raise _refused(
            "connections",
            Fault.OVERLOADED,
            "Too many connections are open: try again in a few seconds.",
        )
    with transcriber.admit(user) as permit:
        yield permit


PermitOf = Annotated[Permit, Depends(admit)]

GATES: Final[Sequence[DependsMarker]] = (Depends(identify_user), Depends(require_ready))
WORK_GATES: Final[Sequence[DependsMarker]] = (*GATES, Depends(admit))


def _refused(reason: str, fault: Fault, message: str) -> ServiceError:
    metrics.REFUSED.labels(reason).inc()
    return ServiceError(fault, message)
