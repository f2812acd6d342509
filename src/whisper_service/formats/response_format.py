"""The choices that a caller has about the answer's shape, in OpenAI's words."""

from __future__ import annotations

from enum import StrEnum


class ResponseFormat(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"

    @property
    def media_type(self) -> str:
        """The Content-Type that OpenAI's own server answers with.

        Subtitles too are text/plain there, not application/x-subrip or text/vtt, and clients tell
        "raw text" from it.
        """
        if self in (ResponseFormat.JSON, ResponseFormat.VERBOSE_JSON):
            return "application/json"
        return "text/plain; charset=utf-8"


class Granularity(StrEnum):
    """What verbose_json gives times for."""

    SEGMENT = "segment"
    WORD = "word"


class UsageType(StrEnum):
    """The unit in which a json answer states what it used."""

    DURATION = "duration"
    TOKENS = "tokens"
