"""How the service logs: one line an event, on standard error, with the request's id."""

from __future__ import annotations

import logging.config

from whisper_service.api.request_id import RequestIdFilter


def configure_logging(level: str) -> None:
    """Sets up logging for the process. vLLM's own loggers keep their own handler.

    Args:
        level: `debug`, `info`, `warning` or `error`.
    """
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request_id": {"()": RequestIdFilter}},
            "formatters": {
                "line": {
                    "format": "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s"
                }
            },
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
