"""How FFmpeg reads an upload: a window of its bytes, and no longer than is allowed."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from whisper_service.errors import Fault, ServiceError

_CHUNK_BYTES = 1024 * 1024


def took_too_long(timeout_seconds: float) -> ServiceError:
    message = f"Decoding the file took longer than {timeout_seconds:g} s."
    return ServiceError(Fault.TIMED_OUT, message, "file")


def was_cancelled() -> ServiceError:
    return ServiceError(Fault.TIMED_OUT, "The request was cancelled.")


class Watch:
    """Knows when to stop: the time is up, or nobody wants the result any more."""

    def __init__(self, timeout_seconds: float, cancelled: Callable[[], bool]) -> None:
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._cancelled = cancelled

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    @property
    def stopped(self) -> bool:
        return self._cancelled() or self.seconds_left == 0

    def check(self) -> None:
        """Raises TIMED_OUT when it is time to stop."""
        if self._cancelled():
            raise was_cancelled()
        if self.seconds_left == 0:
            raise took_too_long(self._timeout_seconds)


class UploadReader:
    """A range of an upload's bytes, as a file of its own.

    It has no name by which a demuxer could judge the format. When it is time to stop it says "end
    of file" instead of raising: PyAV prints what is raised below FFmpeg to standard error when
    FFmpeg does not give up at once.
    """

    def __init__(self, upload: BinaryIO, watch: Watch, part: range) -> None:
        self._upload = upload
        self._watch = watch
        self._start = part.start
        self._end = part.stop
        upload.seek(part.start)

    def read(self, size: int) -> bytes:
        if self._watch.stopped:
            return b""
        size = min(size, self._end - self._upload.tell())
        # PyAV copies all of it into a buffer of `size`.
        return self._upload.read(size)[:size] if size > 0 else b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._end - self._start}
        if self._watch.stopped or whence not in base or base[whence] + offset < 0:
            return -1
        return self._upload.seek(self._start + base[whence] + offset) - self._start

    def tell(self) -> int:
        return self._upload.tell() - self._start


def chunks(
    upload: BinaryIO, watch: Watch, start: int = 0, *, overlap: int
) -> Iterator[tuple[int, bytes]]:
    """The upload from `start` on, a megabyte at a time, each with its position.

    Each chunk begins with the last `overlap` bytes of the one before it, so that a signature on
    the seam is found.

    Raises:
        ServiceError: TIMED_OUT.
    """
    while True:
        watch.check()
        upload.seek(start)
        chunk = upload.read(_CHUNK_BYTES)
        if chunk:
            yield start, chunk
        if len(chunk) <= overlap:
            return
        start += len(chunk) - overlap
