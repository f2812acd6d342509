"""The spellings in which clients send a form's lists and objects.

Lists: `name[]` (OpenAI's own SDKs), `name` repeated (curl), `name[0]` and `name.0` (form
libraries).
Objects: `name[key]` (OpenAI's own SDKs), `name.key`, or one field with a JSON object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from whisper_service.api.refusals import invalid, shorten
from whisper_service.errors import Fault, ServiceError

LISTS: Final = frozenset({"include", "timestamp_granularities"})
OBJECTS: Final = frozenset({"chunking_strategy"})

# OpenAI's fields of which Whisper has no counterpart, by what the caller should know.
UNSUPPORTED: Final = {
    "known_speaker_names": "Whisper does not tell speakers apart",
    "known_speaker_references": "Whisper does not tell speakers apart",
    "keywords": "Whisper has no keywords: put the words into 'prompt'",
    "languages": "Whisper takes one language or none: use 'language'",
}

_BRACKETED: Final = re.compile(r"(?P<name>\w+)(?:\[(?P<key>\w*)\]|\.(?P<dotted>\w+))", re.ASCII)

Value = str | list[str] | dict[str, Any]


def gather(sent: Iterable[tuple[str, str]]) -> dict[str, Value]:
    """Each field under its plain name.

    Raises:
        ServiceError: a field is given twice, or is one that Whisper cannot serve.
    """
    gathered: dict[str, Value] = {}
    for spelling, value in sent:
        name, key = _split(spelling)
        if name in UNSUPPORTED:
            raise ServiceError(
                Fault.UNSUPPORTED_VALUE,
                f"'{name}' is not supported: {UNSUPPORTED[name]}.",
                shorten(spelling),
            )
        _add(gathered, name, key, value)
    return gathered


def _split(spelling: str) -> tuple[str, str | None]:
    """The plain name and, for one entry of an object, its key."""
    match = _BRACKETED.fullmatch(spelling)
    if match is None:
        return spelling, None
    name, key = match["name"], match["key"] or match["dotted"] or ""
    if name in OBJECTS and key:
        return name, key
    if (name in LISTS or name in UNSUPPORTED) and (not key or key.isdecimal()):
        return name, None
    return spelling, None


def _add(gathered: dict[str, Value], name: str, key: str | None, value: str) -> None:
    if name in LISTS:
        entries = gathered.setdefault(name, [])
        if isinstance(entries, list):
            entries.append(value)
        return
    if key is None:
        if name in gathered:
            raise invalid(name, "is given more than once.")
        gathered[name] = _json_object(name, value) if name in OBJECTS else value
        return
    entry = gathered.setdefault(name, {})
    if not isinstance(entry, dict) or key in entry:
        raise invalid(f"{name}[{key}]", "is given more than once.")
    entry[key] = value


def _json_object(name: str, value: str) -> Value:
    if not value.lstrip().startswith("{"):
        return value
    try:
        parsed: dict[str, Any] = json.loads(value)
    except (ValueError, RecursionError):
        raise invalid(name, "is not a valid JSON object.") from None
    return parsed
