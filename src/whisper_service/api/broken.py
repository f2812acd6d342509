"""How an answer says that its file broke before its end."""

from __future__ import annotations

from typing import Final

BROKEN_AT: Final = "x-audio-broken-at"


def broken_header(broken_at: float | None) -> dict[str, str]:
    """The header with the second of the audio from which on the file could not be read, if any."""
    return {} if broken_at is None else {BROKEN_AT: f"{broken_at:.3f}"}
