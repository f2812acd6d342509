"""`python -m whisper_service` and `whisper-service`: serve until told to stop.

vLLM starts its processes by importing this module again: nothing may happen on import.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the service; the exit code."""
    from whisper_service.settings import WrongSettingsError, load_settings

    try:
        settings = load_settings()
    except WrongSettingsError as error:
        print(f"whisper-service cannot start:\n{error}", file=sys.stderr)  # noqa: T201
        return 2

    from whisper_service.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format)

    from whisper_service.checkpoints.embedded import EmbeddedModelError
    from whisper_service.engine.profiles import UnsuitableDeviceError
    from whisper_service.server import run
    from whisper_service.telemetry.tracing import TracingUnavailableError
    from whisper_service.whisper.vocabulary import UnsuitableCheckpointError

    try:
        return run(settings)
    except (
        EmbeddedModelError,
        TracingUnavailableError,
        UnsuitableCheckpointError,
        UnsuitableDeviceError,
    ) as error:
        print(f"whisper-service cannot start: {error}", file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
