"""Compiles the kernels in a process of its own, while the engine's is starting.

That takes 7 s of a processor, and 70 MB that the engine's process would keep. Compiled code goes
through a directory that only this service knows, and which it removes once the engine is ready: a
cache that stays would have to be trusted, and be thrown away with every change.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import tempfile

logger = logging.getLogger(__name__)

DIRECTORY = "NUMBA_CACHE_DIR"
_PREFIX = "whisper-kernels-"
_SECONDS = 120  # after which the engine compiles for itself


class Ahead:
    """The process, and the directory; both are gone after `finish`."""

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, str]:
        """Returns variables of the process that is to find what is compiled; none without a place.

        An operator's own directory is used as it is, and stays.
        """
        if DIRECTORY not in os.environ and self._directory is None:
            try:
                self._directory = tempfile.TemporaryDirectory(
                    prefix=_PREFIX, ignore_cleanup_errors=True
                )
            except OSError as error:
                logger.info("kernels are compiled by the engine: %s", error)
                return {}
        variables = {DIRECTORY: self._directory.name} if self._directory else {}
        if self._process is None:
            atexit.register(self.finish)  # an engine that does not start leaves nothing behind
            self._process = subprocess.Popen(  # noqa: S603 -- this module
                [sys.executable, "-P", "-m", __name__],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
            )
        return variables

    def wait(self) -> None:
        """Until all is compiled, or will not be."""
        if self._process is None:
            return
        try:
            code = self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code:
            logger.warning(
                "kernels are compiled by the engine: the process for it ended with %d", code
            )

    def finish(self) -> None:
        """Ends the process, if it is still there, and removes what it has compiled."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self.remove()

    def remove(self) -> None:
        """Removes what is compiled, and waits for nobody."""
        if self._directory is not None:
            self._directory.cleanup()
        self._directory = None


def compile_all() -> None:
    """For the types that they are called with."""
    from numba import types

    from whisper_service.engine.kernels import audio_cache, encoder_weights, fp8_cache
    from whisper_service.engine.kernels.vectors import has_vnni

    bits, halves = types.int8[::1], types.int16[::1]
    numbers, slots, whole = types.float32[::1], types.int64[::1], types.int64
    sizes = types.UniTuple(whole, 2)
    fp8_cache.write.compile((halves, halves, whole, slots, types.UniTuple(whole, 3), bits))
    if not has_vnni():
        return
    encoder_weights.convert_keys.compile((halves, whole, bits, types.float32[:, ::1]))
    weights, totals = types.int16[:, ::1], types.float32[:, ::1]
    encoder_weights.weigh.compile((halves, whole, bits, numbers, types.float32, weights, totals))
    counts, tables = types.int32[::1], types.int32[:, ::1]
    audio_cache.write.compile((halves, halves, whole, slots, sizes, bits, halves))
    audio_cache.attend.compile(
        (halves, whole, counts, counts, tables, sizes, bits, halves, types.float32, halves)
    )


if __name__ == "__main__":
    compile_all()
