"""Files that are several files, one after the other.

Radio recordings are chained Ogg, a link for each song; recorders append a file to the last one; and
people do it with `cat`. FFmpeg reads the first of them, and loses what comes behind where the
format changes. Here each part is found by how its container begins, and decoded by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO

from whisper_service.audio.upload_reader import Watch, chunks

_MOST_PARTS = 2_000  # opening one takes up to a millisecond

_OGG_PAGE = re.compile(rb"OggS\x00([\x00-\x07])")  # RFC 3533: version 0, flags
_OGG_BEGINS = 2  # the flag of a logical stream's first page
_FLAC_BEGINS = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # with a block of 34 bytes, STREAMINFO
# An EBML header of any length, whose first element is EBMLVersion or DocType.
_EBML_BEGINS = re.compile(
    rb"\x1a\x45\xdf\xa3(?:[\x80-\xff]|[\x40-\x7f].|\x10.{3}|\x08.{4}|\x01.{7})\x42[\x82\x86]",
    re.DOTALL,
)
_EBML_SEGMENT = b"\x18\x53\x80\x67"
_LONGEST_SIGNATURE = 32

_WAV_MAGICS = (b"RIFF", b"RIFX")
_UNKNOWN_SIZE = (0, 0xFFFFFFFF)


def find_parts(upload: BinaryIO, container_name: str, start: int, watch: Watch) -> list[range]:
    """The bytes of each part, in order; together they are the upload from `start` on.

    Moves the upload's position.

    Raises:
        ServiceError: TIMED_OUT.
    """
    size = upload.seek(0, 2)
    starts = [start]
    if (find := _FINDERS.get(container_name)) is not None:
        for found in find(upload, watch):
            if found > starts[-1] and len(starts) < _MOST_PARTS:
                starts.append(found)
    return [range(first, last) for first, last in pairwise([*starts, size])]


def _ogg_links(upload: BinaryIO, watch: Watch) -> Iterator[int]:
    """Where streams begin behind pages of others: those that begin together are one link."""
    begins = True
    for position, chunk in chunks(upload, watch, overlap=_LONGEST_SIGNATURE):
        for page in _OGG_PAGE.finditer(chunk):
            begun, begins = begins, bool(page[1][0] & _OGG_BEGINS)
            if begins and not begun:
                yield position + page.start()


def _flac_streams(upload: BinaryIO, watch: Watch) -> Iterator[int]:
    """All but the first one, before which there may be tags."""
    first: int | None = None
    for position, chunk in chunks(upload, watch, overlap=_LONGEST_SIGNATURE):
        for found in _FLAC_BEGINS.finditer(chunk):
            start = position + found.start()
            first = start if first is None else first
            if start > first:
                yield start


def _ebml_documents(upload: BinaryIO, watch: Watch) -> Iterator[int]:
    """Those that are inside another one's segment are attachments of that."""
    inside_until = 0
    for position, chunk in chunks(upload, watch, overlap=_LONGEST_SIGNATURE):
        for found in _EBML_BEGINS.finditer(chunk):
            start = position + found.start()
            if start >= inside_until:
                yield start
                inside_until = _end_of_segment(upload, start)


def _end_of_segment(upload: BinaryIO, start: int) -> int:
    """Where the document that begins there says that it ends; its start where it does not say."""
    upload.seek(start + 4)
    head = upload.read(64 * 1024)
    at = head.find(_EBML_SEGMENT)
    length = _ebml_length(head[at + 4 : at + 12]) if at >= 0 else None
    if length is None:
        return start
    count, size = length
    return start + 4 + at + 4 + count + size


def _ebml_length(data: bytes) -> tuple[int, int] | None:
    """An element's length: its own bytes, and its value; None where it is unknown or none."""
    if not data or not data[0]:
        return None
    count = 9 - data[0].bit_length()
    value = int.from_bytes(data[:count]) & (1 << 7 * count) - 1
    return None if value == (1 << 7 * count) - 1 else (count, value)


def _movies(upload: BinaryIO, watch: Watch) -> Iterator[int]:
    """Where the top-level boxes begin anew, with a file type or a second movie."""
    position = 0
    has_type = has_movie = False
    for kind, size in _boxes(upload, watch):
        begins = (kind == b"ftyp" and (has_type or has_movie)) or (kind == b"moov" and has_movie)
        if begins:
            yield position
            has_type = has_movie = False
        has_type |= kind == b"ftyp"
        has_movie |= kind == b"moov"
        position += size


def _boxes(upload: BinaryIO, watch: Watch) -> Iterator[tuple[bytes, int]]:
    """Kind and size of each top-level box (ISO/IEC 14496-12), up to one that makes no sense."""
    position = 0
    while True:
        watch.check()
        upload.seek(position)
        head = upload.read(16)
        size, kind = int.from_bytes(head[:4]), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16])
        if len(head) < 8 or size < 8:
            return
        yield kind, size
        position += size


def _waves(upload: BinaryIO, watch: Watch) -> Iterator[int]:
    """Where another RIFF begins behind the length that one states."""
    position = 0
    while True:
        watch.check()
        upload.seek(position)
        head = upload.read(12)
        size = int.from_bytes(head[4:8], "big" if head[:4] == b"RIFX" else "little")
        if head[:4] not in _WAV_MAGICS or head[8:12] != b"WAVE" or size in _UNKNOWN_SIZE:
            return
        if position:
            yield position
        position += 8 + size + size % 2


_FINDERS: dict[str, Callable[[BinaryIO, Watch], Iterator[int]]] = {
    "ogg": _ogg_links,
    "flac": _flac_streams,
    "matroska": _ebml_documents,
    "mov": _movies,
    "wav": _waves,
}
