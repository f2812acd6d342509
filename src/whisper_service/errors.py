"""Everything that can go wrong, as one enumeration, and the one exception that carries it.

How each fault looks on the wire is decided in `api.errors`, in one total mapping.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Fault(Enum):
    INVALID_VALUE = auto()  # a field has a value that it cannot have
    MISSING_FIELD = auto()  # a required field is not there
    UNKNOWN_FIELD = auto()  # a field that does not exist
    UNSUPPORTED_VALUE = auto()  # a value of OpenAI's that Whisper cannot serve
    MALFORMED_REQUEST = auto()  # a body that is not the form that it should be
    UNREADABLE_AUDIO = auto()  # not audio, or not in a format that is accepted
    AUDIO_TOO_SHORT = auto()
    AUDIO_TOO_LONG = auto()
    UPLOAD_TOO_LARGE = auto()
    UPLOAD_TOO_SLOW = auto()
    HEADERS_TOO_LARGE = auto()
    UNAUTHORIZED = auto()
    MODEL_NOT_FOUND = auto()
    ROUTE_NOT_FOUND = auto()
    METHOD_NOT_ALLOWED = auto()
    OVERLOADED = auto()  # the queue is full: come back in a few seconds
    NOT_READY = auto()  # starting, or told to stop
    ENGINE_DEAD = auto()
    TIMED_OUT = auto()  # the request took longer than it may
    INTERNAL = auto()


ENGINE_DIED: Final = "The speech engine has stopped; the service is restarting."


class ServiceError(Exception):
    """A fault that the caller is told about.

    `message` is shown to the caller: it says what is wrong and what would be right.
    `param` names the request's field, where there is one.
    """

    def __init__(self, fault: Fault, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.param = param
