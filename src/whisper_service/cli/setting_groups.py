"""The settings in groups, for help texts and the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from whisper_service.settings import Settings

# By each group's first field; the others follow in the order of the class.
GROUPS: Final = {
    "host": "Server",
    "api_keys": "Who may use it",
    "model": "Model",
    "profile": "Engine",
    "compression_ratio_threshold": "Decoding",
    "max_upload_bytes": "Limits of one request",
    "max_queued_windows": "Limits of all requests together",
    "drain_seconds": "The end",
}


def grouped_settings() -> Iterator[tuple[str, str, FieldInfo]]:
    """(group, name, field) of every setting, in order."""
    group = ""
    for name, field in Settings.model_fields.items():
        group = GROUPS.get(name, group)
        yield group, name, field


def default_of(field: FieldInfo) -> str:
    """A setting's default as its variable would have it; empty: it is unset."""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict | bool):
        return json.dumps(value)
    if isinstance(value, Path) and value.is_relative_to(Path.home()):
        return f"~/{value.relative_to(Path.home())}"
    return str(value)
