"""The process that FFmpeg runs in: one upload at a time, and nothing else that could be harmed.

Started by `audio.isolated` as `python -m whisper_service.audio.decoding_process PARENT`, with a
Unix socket of sequenced packets as its standard input. An order is the limits, as JSON, and the
upload's file descriptor. The answer is LOG and SAMPLES packets and at last DONE or REFUSED. Nothing
is pickled: what comes out of here is as little trusted as what went in.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import json
import logging
import math
import os
import pkgutil
import resource
import signal
import socket
import sys
import wave
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import av

from whisper_service.audio.decode import DecodeLimits, decode, decode_pieces
from whisper_service.errors import ServiceError

# A packet's first byte says what follows it.
READY = b"r"  # nothing; sent once, before the first order
SAMPLES = b"s"  # float32[n], at most MESSAGE_SAMPLES of them
LOG = b"l"  # a line of UTF-8
DONE = b"d"  # nothing, or the second at which the file broke, in ASCII
REFUSED = b"x"  # a ServiceError as JSON

MESSAGE_SAMPLES = 16_000  # 64 kB; Linux lets a packet have about 200
MAX_ORDER_BYTES = 1024

_STDIN, _STDERR = 0, 2
_MEMORY_BYTES = 512 * 1024 * 1024  # what an upload may take beside what the libraries have mapped
_OPEN_FILES = 4  # standard input, output and error, and the upload: no room for a file or a socket
_NICENESS = 5  # who serves requests goes first

_NOT_FOR_DECODING = ("av.__main__", "av.datasets")  # a program, and downloads for its examples

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h


def main() -> None:
    _stay_with(int(sys.argv[1]))
    connection = socket.socket(fileno=_STDIN)
    _import_all_of_pyav()
    decode(_beep(), DecodeLimits(max_seconds=1, timeout_seconds=60))  # nothing is imported later
    _give_up_rights()
    logging.getLogger("whisper_service").addHandler(_Forward(connection))
    logging.getLogger("whisper_service").setLevel(logging.INFO)
    connection.send(READY)
    while True:
        order, files, _, _ = socket.recv_fds(connection, MAX_ORDER_BYTES, maxfds=1)
        if not order:
            return  # the parent has closed its end
        with open(files[0], "rb", buffering=0) as upload:  # noqa: PTH123 -- a descriptor, no path
            _answer(connection, upload, DecodeLimits(**json.loads(order)))


def order_of(limits: DecodeLimits) -> bytes:
    return json.dumps(asdict(limits)).encode()


def second_of(payload: memoryview) -> float | None:
    """What DONE carries.

    Raises:
        ValueError: it is no second of a file.
    """
    if not payload:
        return None
    second = float(bytes(payload))
    if not 0 <= second < math.inf:
        raise ValueError("no second of a file")
    return second


def _answer(connection: socket.socket, upload: BinaryIO, limits: DecodeLimits) -> None:
    _limit_processor_time(limits.timeout_seconds)
    pieces = decode_pieces(upload, limits)
    try:
        while True:
            piece = next(pieces)
            for first in range(0, len(piece), MESSAGE_SAMPLES):
                connection.sendmsg([SAMPLES, piece[first : first + MESSAGE_SAMPLES].data])
    except StopIteration as end:
        broken_at: float | None = end.value
        connection.send(DONE if broken_at is None else DONE + f"{broken_at:.3f}".encode())
    except ServiceError as error:
        told = {"fault": error.fault.name, "message": error.message, "param": error.param}
        connection.send(REFUSED + json.dumps(told).encode())


def _stay_with(parent: int) -> None:
    """Ends this process with its parent, however that ends; and with nothing else but a kill.

    Ctrl-C, and a supervisor's SIGTERM to all processes, are for the parent to obey: it may still
    need us for what it has accepted.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked to be told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _import_all_of_pyav() -> None:
    """PyAV imports some of its modules when a file first has a stream of their kind."""
    for module in pkgutil.walk_packages(av.__path__, f"{av.__name__}."):
        if module.name not in _NOT_FOR_DECODING:
            importlib.import_module(module.name)


def _give_up_rights() -> None:
    """From here on this process can open nothing, write nothing, and take only so much."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.nice(_NICENESS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + _MEMORY_BYTES
    os.closerange(_STDERR + 1, 256)
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),  # a core file would hold somebody's recording
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(limit, (value, value))


def _limit_processor_time(seconds: float) -> None:
    """So much more from now on: the kernel ends what spins, even where the parent cannot."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _beep() -> BinaryIO:
    """0.2 s of silence that has to be mixed down and resampled."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(6400))
    return file


class _Forward(logging.Handler):
    """Sends what is logged here to where requests have their ids."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(LOG + record.getMessage()[:500].encode())


if __name__ == "__main__":
    main()
