"""How each fault looks on the wire: one total mapping, and one shape for every error."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from whisper_service.errors import Fault, ServiceError

log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST: Final = 499  # nginx's number for it; nobody is left to read the answer
RETRY_SECONDS: Final = 2  # the SDKs wait this long; more than a few seconds they do not honour
# In turn, so that those who were refused together do not come back together.
_RETRY_SECONDS_IN_TURN: Final = itertools.cycle((RETRY_SECONDS, 3, 4))

_INVALID = "invalid_request_error"
_SERVER = "server_error"


@dataclass(frozen=True)
class Wire:
    """A fault's status, OpenAI's `type` and `code`, whether to come back later, and headers."""

    status: int
    type: str
    code: str
    retry: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        retry = {"retry-after": str(next(_RETRY_SECONDS_IN_TURN))} if self.retry else {}
        return {**self.headers, **retry}


WIRE: Final[Mapping[Fault, Wire]] = {
    Fault.INVALID_VALUE: Wire(400, _INVALID, "invalid_value"),
    Fault.MISSING_FIELD: Wire(400, _INVALID, "missing_required_parameter"),
    Fault.UNKNOWN_FIELD: Wire(400, _INVALID, "unknown_parameter"),
    Fault.UNSUPPORTED_VALUE: Wire(400, _INVALID, "unsupported_value"),
    Fault.MALFORMED_REQUEST: Wire(400, _INVALID, "malformed_request"),
    Fault.UNREADABLE_AUDIO: Wire(400, _INVALID, "unreadable_audio"),
    Fault.AUDIO_TOO_SHORT: Wire(400, _INVALID, "audio_too_short"),
    Fault.AUDIO_TOO_LONG: Wire(400, _INVALID, "audio_too_long"),
    Fault.UPLOAD_TOO_LARGE: Wire(413, _INVALID, "upload_too_large"),
    Fault.UPLOAD_TOO_SLOW: Wire(408, _INVALID, "upload_too_slow"),
    Fault.HEADERS_TOO_LARGE: Wire(431, _INVALID, "headers_too_large"),
    Fault.UNAUTHORIZED: Wire(
        401, _INVALID, "invalid_api_key", headers={"www-authenticate": "Bearer"}
    ),
    Fault.MODEL_NOT_FOUND: Wire(404, _INVALID, "model_not_found"),
    Fault.ROUTE_NOT_FOUND: Wire(404, _INVALID, "route_not_found"),
    Fault.METHOD_NOT_ALLOWED: Wire(405, _INVALID, "method_not_allowed"),
    Fault.OVERLOADED: Wire(429, "rate_limit_error", "overloaded", retry=True),
    Fault.NOT_READY: Wire(503, _SERVER, "not_ready", retry=True),
    Fault.ENGINE_DEAD: Wire(503, _SERVER, "engine_dead", retry=True),
    # The SDKs would send it all again, and what took too long once takes too long twice.
    Fault.TIMED_OUT: Wire(504, _SERVER, "timed_out", headers={"x-should-retry": "false"}),
    Fault.INTERNAL: Wire(500, _SERVER, "internal_error"),
}

ErrorBody: TypeAlias = dict[str, dict[str, str | None]]


def error_body(fault: Fault, message: str, param: str | None = None) -> ErrorBody:
    """OpenAI's error object, all four keys always there."""
    wire = WIRE[fault]
    return {
        "error": {"message": message, "type": wire.type, "param": param, "code": wire.code},
    }


class ErrorResponse(Response):
    media_type = "application/json"

    def __init__(self, error: ServiceError, headers: Mapping[str, str] | None = None) -> None:
        wire = WIRE[error.fault]
        super().__init__(
            error_body(error.fault, error.message, error.param),
            status_code=wire.status,
            headers={**wire.all_headers(), **(headers or {})},
        )

    def render(self, content: object) -> bytes:
        # Escaped to ASCII: a message may quote what a client sent, and a lone surrogate out of
        # its JSON could not be written as UTF-8.
        return json.dumps(content, ensure_ascii=True).encode("ascii")


STOPPED: Final = ServiceError(
    Fault.NOT_READY, "The service was stopped before it could finish this request."
)
INTERNAL_ERROR: Final = ServiceError(
    Fault.INTERNAL,
    "The server failed on this request. The log says more under its x-request-id.",
)


def install_error_handlers(app: FastAPI) -> None:
    """Give every exception that reaches the router OpenAI's envelope.

    What is not listed here is a bug, and `failures.FailureMiddleware` answers it.
    """
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _client_disconnect)


def _reply(request: Request, error: ServiceError, headers: Mapping[str, str] | None) -> Response:
    request.state.outcome = error.fault.name.lower()  # for the access log and the metrics
    return ErrorResponse(error, headers)


def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError):
        raise error
    return _reply(request, error, None)


def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path[:200]
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            fault, message = Fault.ROUTE_NOT_FOUND, f"There is nothing at {request.method} {path}."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "another method")
            fault = Fault.METHOD_NOT_ALLOWED
            message = f"{path} does not take {request.method}; it takes {allowed}."
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            fault, message = Fault.UPLOAD_TOO_LARGE, str(error.detail)
        case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            fault, message = Fault.MALFORMED_REQUEST, str(error.detail)
        case _:
            return _reply(request, INTERNAL_ERROR, error.headers)
    return _reply(request, ServiceError(fault, message), error.headers)


def _validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    param = str(first["loc"][-1]) if first.get("loc") else None
    return _reply(request, ServiceError(Fault.INVALID_VALUE, f"{first['msg']}.", param), None)


def _client_disconnect(request: Request, _error: Exception) -> Response:
    # Not an error of anybody's: no traceback, and a status that only the access log sees.
    request.state.outcome = "disconnected"
    return Response(status_code=CLIENT_CLOSED_REQUEST)
