"""How the service logs: one line an event, on standard error, with the request's id.

A record's `fields` are what a machine may look for: `name=value` behind the message, or members of
the JSON object. Its `request`, for JSON only, is what the message says already.
"""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Mapping
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from whisper_service.api.request_id import RequestIdFilter

_LINE = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s"


class ConsoleFormatter(logging.Formatter):
    """Lines for people."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        return " ".join(
            [super().formatMessage(record), *(f"{name}={value}" for name, value in fields.items())]
        )


class JsonLineFormatter(JsonFormatter):
    """One JSON object a line, times in UTC."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "request_id", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp=True,
            reserved_attrs=[*logging.makeLogRecord({}).__dict__, "fields", "request", "asctime"],
        )

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.update(getattr(record, "request", {}))
        log_data.update(getattr(record, "fields", {}))


_FORMATTERS: dict[str, dict[str, Any]] = {
    "console": {"()": ConsoleFormatter, "fmt": _LINE},
    "json": {"()": JsonLineFormatter},
}


def configure_logging(level: str, form: Literal["console", "json"] = "console") -> None:
    """Sets up logging for the process. vLLM's own loggers keep their own handler.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `console` or `json`.
    """
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request_id": {"()": RequestIdFilter}},
            "formatters": {"line": _FORMATTERS[form]},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["request_id"],
                }
            },
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "whisper_service": {"level": level.upper()},
                "uvicorn": {"level": "INFO"},
            },
        }
    )
