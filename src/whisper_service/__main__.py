"""`python -m whisper_service`: serve until told to stop, as the environment says.

vLLM starts its processes by importing this module again: nothing may happen on import.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the service; the exit code."""
    from whisper_service.cli.start import start_service
    from whisper_service.settings import WrongSettingsError, load_settings

    try:
        settings = load_settings()
    except WrongSettingsError as error:
        print(f"whisper-service cannot start:\n{error}", file=sys.stderr)  # noqa: T201
        return 2
    return start_service(settings)


if __name__ == "__main__":
    sys.exit(main())
