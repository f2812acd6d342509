"""`python -m whisper_service.healthcheck`: exits 0 when the service of this container is ready.

For an image's HEALTHCHECK, which runs every few seconds: only the standard library is imported, and
the port is read from the environment, not from `.env`.
"""

from __future__ import annotations

import http.client
import os
import sys

_SECONDS = 4.0


def main() -> int:
    """0: ready; 1: not, and standard error says why."""
    port = int(os.environ.get("WHISPER_PORT") or "8000")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        state = answer.read(200).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        connection.close()
    print(state, file=sys.stderr)  # noqa: T201
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
