"""How fast `/health/live` answers, asked over and over from a process of its own.

Of its own, so that it measures the service's event loop and not that of the load.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from reliability.figures import spread

_EVERY = 0.02  # seconds


def probe(url: str, stop: Path, every: float) -> dict[str, Any]:
    """Asks until the file `stop` is there."""
    seconds: list[float] = []
    failures: list[str] = []
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stop.exists():
            began = time.perf_counter()
            try:
                answer = client.get("/health/live")
                if answer.status_code != httpx.codes.OK:
                    failures.append(str(answer.status_code))
            except httpx.RemoteProtocolError:
                continue  # a kept connection that the server closed
            except httpx.TransportError as error:
                failures.append(repr(error))
            seconds.append(time.perf_counter() - began)
            time.sleep(every)
    return {"seconds": seconds, "failures": failures}


@contextmanager
def probing(url: str, folder: Path, every: float = _EVERY) -> Iterator[dict[str, Any]]:
    """Asks while the block lasts; then what is yielded has the figures."""
    stop = folder / "stop-probing"
    stop.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "reliability.liveness", url, str(stop), str(every)],
        cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    figures: dict[str, Any] = {}
    try:
        yield figures
    finally:
        stop.touch()
        told = json.loads(process.communicate(timeout=60)[0])
        figures |= spread(told["seconds"])
        figures["failures"] = told["failures"]


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))))
