"""The refusals that several modules make, in one wording."""

from __future__ import annotations

from typing import Final

from whisper_service.errors import Fault, ServiceError

FILE_FIELD: Final = "file"

_SHOWN_CHARS: Final = 100


def shorten(text: str) -> str:
    """What a client sent, cut to a length that a message and a log line can bear."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def malformed(message: str) -> ServiceError:
    return ServiceError(Fault.MALFORMED_REQUEST, message)


def invalid(field: str, message: str) -> ServiceError:
    """`message` begins after the field's name: "is empty."."""
    shown = shorten(field)
    return ServiceError(Fault.INVALID_VALUE, f"{shown!r} {message}", shown)


def missing(field: str) -> ServiceError:
    return ServiceError(Fault.MISSING_FIELD, f"{field!r} is required.", field)


def too_large(limit: int) -> ServiceError:
    return ServiceError(
        Fault.UPLOAD_TOO_LARGE,
        f"The upload is larger than the limit of {limit} bytes ({limit / 2**20:.4g} MiB).",
        FILE_FIELD,
    )
