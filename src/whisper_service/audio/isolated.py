"""Uploads are decoded in processes of their own, which may hang or crash as they like.

FFmpeg is C and the bytes are a stranger's: a file that crashes it, makes it spin or eat memory
costs that one request, and 0.1 s until a new process has taken the old one's place. See "Decoding
in processes of its own" in docs/design.md for what that costs, and why it is no library's pool.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import BinaryIO

from whisper_service.audio import decoding_process
from whisper_service.audio.arriving import ArrivingSamples
from whisper_service.audio.decode import DecodeLimits
from whisper_service.audio.decoding_process import (
    DONE,
    LOG,
    MESSAGE_SAMPLES,
    READY,
    REFUSED,
    SAMPLES,
    order_of,
    second_of,
)
from whisper_service.audio.upload_reader import took_too_long, was_cancelled
from whisper_service.domain import Samples
from whisper_service.errors import Fault, ServiceError
from whisper_service.metrics import DECODERS_ENDED

logger = logging.getLogger(__name__)

FILES_PER_PROCESS = 500  # then a new one is started, whatever the old one may have leaked

_GRACE_SECONDS = 1.0  # a process knows its time limit itself; this much later it is killed
_START_SECONDS = 60.0  # measured: 0.1 s; a machine under load gets more
_LOOK_SECONDS = 0.1  # between two looks at whether the request was cancelled
_COPIED_BYTES = 1024 * 1024  # an upload up to this size may be in memory: it is copied
_DYING_SECONDS = 0.1  # until a process whose socket is closed has an exit code
_SAMPLE_BYTES = 4

# The parent's API keys are nobody else's business.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class IsolatedDecoder:
    """As many decoding processes as there are uploads to decode at the same time. Thread-safe.

    A process dies with the thread that started it: `start` and `decode` belong in threads that
    live as long as the decoder.
    """

    def __init__(
        self, workers: int, command: tuple[str, ...] = ("-m", decoding_process.__name__)
    ) -> None:
        """`command`: what Python runs as the decoding process; tests have others."""
        self._workers = [_Worker(command) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def start(self) -> None:
        """Has every process ready, so that no upload waits for one, and a broken set-up shows.

        Raises:
            ServiceError: NOT_READY, a process could not be started.
        """
        idle = [self._idle.get() for _ in self._workers]
        try:
            for worker in idle:
                worker.start()
            for worker in idle:
                worker.wait_until_ready()
        finally:
            for worker in idle:
                self._idle.put(worker)

    def decode(
        self,
        upload: BinaryIO,
        limits: DecodeLimits,
        cancelled: Callable[[], bool] = lambda: False,
        arriving: ArrivingSamples | None = None,
    ) -> Samples:
        """The audio of `upload`: float32[n], 16 kHz mono, in [-1, 1].

        Blocking, also for as long as all processes are busy. `upload` is read from its beginning.
        Whoever has `arriving`, with room for `limits.max_seconds`, sees the samples come, and at
        the end whether the file broke. It ends with this call, whatever becomes of it.

        Raises:
            ServiceError: as `decode.decode_pieces`; UNREADABLE_AUDIO also where the process broke,
                TIMED_OUT also where it had to be killed; NOT_READY where there is none.
        """
        samples = arriving or ArrivingSamples(limits.max_seconds)
        worker = self._idle.get()
        try:
            return worker.decode(upload, limits, cancelled, samples)
        finally:
            samples.end()
            worker.renew()
            self._idle.put(worker)

    def close(self) -> None:
        """Ends all processes at once; what is being decoded fails, and what comes later."""
        for worker in self._workers:
            worker.close()
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for worker in idle:
            worker.stop()
            self._idle.put(worker)


class _BrokenError(Exception):
    """The process has ended, or says what it cannot mean."""


class _Worker:
    """A place for one process, whichever it is at the time."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket
        self._buffer = bytearray(1 + MESSAGE_SAMPLES * _SAMPLE_BYTES)
        self._is_ready = False
        self._files = 0
        self._closed = False

    def start(self) -> None:
        """Starts the process, without waiting for it, where there is none.

        Raises:
            ServiceError: NOT_READY.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()  # one that died while it had nothing to do: no upload's fault
        if self._closed:
            raise _no_process()
        self._is_ready, self._files = False, 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 -- our own module
                    [sys.executable, "-P", *self._command, str(os.getpid())],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise _no_process() from error
        ours.settimeout(_LOOK_SECONDS)
        self._connection = ours

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        try:
            while not self._is_ready:
                kind, _ = self._next(deadline, lambda: False)
                self._is_ready = kind == READY
        except (_BrokenError, TimeoutError) as error:
            self.stop()
            raise _no_process() from error

    def decode(
        self,
        upload: BinaryIO,
        limits: DecodeLimits,
        cancelled: Callable[[], bool],
        samples: ArrivingSamples,
    ) -> Samples:
        self.start()
        self.wait_until_ready()
        self._files += 1
        try:
            answer = self._ask(upload, limits, lambda: self._closed or cancelled(), samples)
        except _BrokenError:
            if self._closed:
                self._end("cancelled")
                raise was_cancelled() from None
            self._end("crash")
            message = "The file is damaged in a way that broke the decoder."
            raise ServiceError(Fault.UNREADABLE_AUDIO, message, "file") from None
        except TimeoutError:
            self._end("timeout")
            raise took_too_long(limits.timeout_seconds) from None
        except BaseException:
            self._end("cancelled")  # or whatever: it may still be at it, and gets no other file
            raise
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    def renew(self) -> None:
        """Starts a process where there is none any more, and in the place of an old one."""
        if self._closed or self._files >= FILES_PER_PROCESS:
            self.stop()
        if self._closed:
            return
        try:
            self.start()
        except ServiceError:
            logger.exception("the next upload will try again")

    def close(self) -> None:
        """Kills the process for good, also from another thread than the one that uses it."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()

    def stop(self, patience_seconds: float = 0.0) -> int | None:
        """Ends the process and frees what was kept for it; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(patience_seconds)
        process.kill()  # it has nothing to tidy up
        return process.wait()

    def _end(self, reason: str) -> None:
        code = self.stop(_DYING_SECONDS if reason == "crash" else 0.0)
        DECODERS_ENDED.labels(reason=reason).inc()
        if reason != "cancelled":
            logger.warning(
                "a decoding process was ended by an upload: %s, exit code %s", reason, code
            )

    def _ask(
        self,
        upload: BinaryIO,
        limits: DecodeLimits,
        cancelled: Callable[[], bool],
        samples: ArrivingSamples,
    ) -> Samples | ServiceError:
        """What the process makes of the upload. After an error it cannot be asked again."""
        deadline = time.monotonic() + limits.timeout_seconds + _GRACE_SECONDS
        try:
            with _descriptor(upload) as file:
                socket.send_fds(self._connection, [order_of(limits)], [file])
        except ConnectionError:
            raise _BrokenError from None
        while True:
            kind, payload = self._next(deadline, cancelled)
            if kind in (SAMPLES, DONE):
                try:
                    if kind == DONE:
                        samples.broken_at = second_of(payload)
                        return samples.complete()
                    samples.add(payload)
                except ValueError:
                    raise _BrokenError from None
            elif kind == REFUSED:
                return _refusal(payload)
            elif kind == LOG:
                logger.info("%s", bytes(payload).decode(errors="replace"))
            else:
                raise _BrokenError

    def _next(self, deadline: float, cancelled: Callable[[], bool]) -> tuple[bytes, memoryview]:
        """The next packet's kind and what it carries, which is valid until the one after it."""
        while True:
            if cancelled():
                raise was_cancelled()
            if time.monotonic() > deadline:
                raise TimeoutError
            try:
                size = self._connection.recv_into(self._buffer)
            except TimeoutError:
                continue
            except ConnectionError:
                size = 0
            if size == 0:
                raise _BrokenError
            packet = memoryview(self._buffer)[:size]
            return bytes(packet[:1]), packet[1:]


@contextmanager
def _descriptor(upload: BinaryIO) -> Iterator[int]:
    """A file descriptor that has the upload's bytes: its own where it is a file already."""
    size = upload.seek(0, io.SEEK_END)
    if size > _COPIED_BYTES:  # asking a smaller spooled file for it would put that on disk
        upload.flush()
        own = _own_descriptor(upload)
        if own is not None:
            yield own
            return
    upload.seek(0)
    with open(os.memfd_create("upload"), "w+b") as copy:  # noqa: PTH123 -- a descriptor, no path
        shutil.copyfileobj(upload, copy)
        copy.flush()
        yield copy.fileno()


def _own_descriptor(upload: BinaryIO) -> int | None:
    try:
        return upload.fileno()
    except io.UnsupportedOperation:  # an io.BytesIO
        return None


def _environment() -> dict[str, str]:
    """What Python needs to start; and one thread, since NumPy's others would do nothing."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _no_process() -> ServiceError:
    return ServiceError(Fault.NOT_READY, "No decoder could be started. Try again later.")


def _refusal(payload: memoryview) -> ServiceError:
    try:
        told = json.loads(bytes(payload))
        return ServiceError(Fault[told["fault"]], str(told["message"]), told["param"])
    except (ValueError, KeyError, TypeError):
        raise _BrokenError from None
