"""Compiles the kernels in a process of its own, while the engine's is starting.

That takes 7 s of a processor, and 70 MB that the engine's process would keep. Compiled code goes
through a directory that only this service knows and that is gone when it ends: one that stays
would have to be trusted, since what is in it is executed, and be thrown away with every change.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import tempfile
from typing import Any

logger = logging.getLogger(__name__)

DIRECTORY = "NUMBA_CACHE_DIR"
_PREFIX = "whisper-kernels-"
_SECONDS = 120  # after which the engine compiles for itself


class Ahead:
    """The process, and the directory. One is enough for all engines of this process."""

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, str]:
        """Returns variables of the process that is to find what is compiled. Safe to call twice.

        They name no directory where there is no place for one.
        """
        if self._directory is None:
            try:
                self._directory = tempfile.TemporaryDirectory(
                    prefix=_PREFIX, ignore_cleanup_errors=True
                )
                atexit.register(self.finish)
                self._process = subprocess.Popen(  # noqa: S603 -- this module
                    [sys.executable, "-P", "-m", __name__],
                    env={**os.environ, DIRECTORY: self._directory.name},
                    stdin=subprocess.DEVNULL,
                )
            except OSError as error:
                logger.info("kernels are compiled by the engine: %s", error)
        return {DIRECTORY: self._directory.name if self._directory else ""}

    def wait(self) -> bool:
        """Until all is compiled, or will not be: whether it is."""
        if self._process is None:
            return False
        try:
            code = self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code:
            logger.warning(
                "kernels are compiled by the engine: what should have ended with %d", code
            )
        return code == 0

    def end(self) -> None:
        """Ends the process, so that nobody has to wait for it."""
        if self._process is not None:
            self._process.kill()

    def finish(self) -> None:
        """Ends the process and removes what it has compiled."""
        self.end()
        if self._process is not None:
            self._process.wait()
        self.remove()

    def remove(self) -> None:
        """Removes what is compiled, and waits for nobody."""
        if self._directory is not None:
            self._directory.cleanup()


def forget_caches() -> None:
    """From now on the kernels are compiled where they are called, and kept nowhere."""
    for kernel in _kernels():
        kernel._cache.disable()  # noqa: SLF001 -- Numba has no other way


def _kernels() -> list[Any]:
    from whisper_service.engine.cpu.kernels import audio_cache, few_rows, fp8_cache

    return [
        audio_cache.attend,
        audio_cache.write,
        fp8_cache.write,
        few_rows.multiply,
        few_rows.multiply_and_add,
    ]


def compile_all() -> None:
    """What this processor has the instructions for."""
    from whisper_service.engine.cpu.kernels.vectors import has_bfloat16, has_vnni

    compile_cache_writes()
    if has_bfloat16():
        compile_products()
    if has_vnni():
        compile_cross_attention()


# Each for the types that its kernels are called with.


def compile_cache_writes() -> None:
    from numba import types

    from whisper_service.engine.cpu.kernels import fp8_cache

    halves, whole = types.int16[::1], types.int64
    sizes = types.UniTuple(whole, 3)
    fp8_cache.write.compile((halves, halves, whole, types.int64[::1], sizes, types.int8[::1]))


def compile_products() -> None:
    from numba import types

    from whisper_service.engine.cpu.kernels import few_rows

    pairs, halves, whole = types.int32[::1], types.int16[::1], types.int64
    few_rows.multiply.compile((pairs, whole, pairs, whole, types.float32[::1]))
    few_rows.multiply_and_add.compile((pairs, whole, pairs, halves, halves))


def compile_cross_attention() -> None:
    from numba import types

    from whisper_service.engine.cpu.kernels import audio_cache

    bits, halves, whole = types.int8[::1], types.int16[::1], types.int64
    counts, tables, sizes = types.int32[::1], types.int32[:, ::1], types.UniTuple(whole, 2)
    audio_cache.write.compile((halves, halves, whole, types.int64[::1], sizes, bits, halves))
    audio_cache.attend.compile(
        (halves, whole, counts, counts, tables, sizes, bits, halves, types.float32, halves)
    )


if __name__ == "__main__":
    compile_all()
