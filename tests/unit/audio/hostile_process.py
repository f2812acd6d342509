"""A decoding process that does what the upload says: what FFmpeg would do if it were taken over.

Run as `IsolatedDecoder` runs the real one; everything but the decoding itself is the real one's.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from whisper_service.audio import decode, decoding_process
from whisper_service.domain import Samples
from whisper_service.errors import Fault, ServiceError


def obey(upload: BinaryIO, *rest: Any) -> Iterator[Samples]:
    """The upload is an order and what it needs; the answer is a second of ones."""
    upload.seek(0)
    if upload.read(4) == b"RIFF":  # the process tries itself before it is ready
        yield from decode_really(upload, *rest)
        return
    upload.seek(0)
    order, _, needs = upload.read().decode().partition(" ")
    yield np.ones(8000, np.float32)
    ORDERS[order](needs)
    yield np.ones(8000, np.float32)


def tell(answer: object) -> None:
    raise ServiceError(Fault.UNREADABLE_AUDIO, str(answer), "file")


def spin(_: str) -> None:
    while True:
        pass


def talk(rest: str) -> None:
    for packet in rest.split(","):
        os.write(0, bytes.fromhex(packet))
    time.sleep(60)


def flood(_: str) -> None:
    while True:
        os.write(0, decoding_process.SAMPLES + bytes(64_000))


def attempt(action: Callable[[], object]) -> None:
    try:
        tell(f"done: {action()}")
    except OSError as error:
        tell(type(error).__name__ + " " + os.strerror(error.errno or 0))


def connect(port: str) -> object:
    return socket.create_connection(("127.0.0.1", int(port)))


ORDERS: dict[str, Callable[[str], object]] = {
    "play": lambda _: None,
    "signal": lambda number: os.kill(os.getpid(), int(number)),
    "crash": lambda _: ctypes.string_at(8),
    "exit": lambda code: os._exit(int(code)),
    "raise": lambda _: [][0],
    "eat": lambda _: bytearray(4 << 30),
    "spin": spin,
    "sleep": lambda _: time.sleep(600),
    "talk": talk,
    "flood": flood,
    "open": lambda path: attempt(lambda: Path(path).read_bytes()),
    "write": lambda path: attempt(lambda: Path(path).write_bytes(b"x")),
    "scribble": lambda _: attempt(lambda: os.pwrite(3, bytes(100_000), 0)),
    "connect": lambda port: attempt(lambda: connect(port)),
    "environment": lambda _: tell(sorted(os.environ)),
}

decode_really, decode._pieces = decode._pieces, obey
if __name__ == "__main__":
    decoding_process.main()
