"""The service is started with settings that were read already. Needs nothing but the service."""

from __future__ import annotations

import sys

from whisper_service.settings import Settings


def start_service(settings: Settings) -> int:
    """Serves until told to stop; the exit code."""
    from whisper_service.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format)

    from whisper_service.engine.launcher import lasting_imports
    from whisper_service.engine.profiles import UnsuitableDeviceError
    from whisper_service.resolve import start_early

    try:
        # The engine's process imports its own while this one does.
        start_early(settings)
    except UnsuitableDeviceError as error:
        return _refuse(error)

    with lasting_imports():
        from whisper_service.checkpoints.embedded import EmbeddedModelError
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
        return _refuse(error)


def _refuse(error: Exception) -> int:
    print(f"whisper-service cannot start: {error}", file=sys.stderr)  # noqa: T201
    return 2
