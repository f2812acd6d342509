"""Which container an upload is, told from its own first bytes.

FFmpeg's probing takes its best guess: random bytes, it says, are MP3, and decodes them to noise.
Here a file is what its signature says, and bare MPEG or AAC frames count only when several follow
one another, or it is nothing that we accept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import BinaryIO, NamedTuple

FORMATS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
"""What the API says it accepts; the list is OpenAI's."""


class _Search(NamedTuple):
    """How far frames are looked for, and how many have to follow one another."""

    bytes: int
    frames: int
    frames_to_the_end: int  # the same, where the file ends behind them


# As far as FFmpeg's MP3 demuxer looks for the first frame. Random bytes hold two headers that match
# once in 10^4 files, three in 10^9. The shortest of files may end after two.
_NEAR = _Search(bytes=64 * 1024, frames=3, frames_to_the_end=2)
# Frames behind 1 MB of zeros or junk are found, too. The junk may be a file of another kind with a
# few frames in it: more of them are asked for.
_FAR = _Search(bytes=1024 * 1024 + 64 * 1024, frames=10, frames_to_the_end=3)
_MAX_TAGS = 8  # ID3v2 tags before the audio; more than one is already odd
_ID3 = re.compile(rb"ID3[\x02-\x04][\x00-\x0f][\x00-\xf0][\x00-\x7f]{4}")

_RIFF_MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_MOV_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")

# ISO/IEC 11172-3 and 13818-3: kb/s by (MPEG-1?, layer); index 0 is "free", 15 is forbidden
_BITRATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG1_RATES = (44_100, 48_000, 32_000)  # Hz; MPEG-2 halves them, MPEG-2.5 quarters them

Frame = tuple[int, bytes]
"""A frame's length in bytes, and the header's bits that stay the same within one stream."""

Parse = Callable[[bytes], Frame | None]


def sniff(upload: BinaryIO) -> str | None:
    """The name of the FFmpeg demuxer that reads `upload`, or None where none that we allow does.

    Moves the upload's position.
    """
    start = _skip_tags(upload)
    upload.seek(start)
    head = upload.read(_NEAR.bytes)
    if head.startswith(b"fLaC"):
        return "flac"
    if start == 0 and (container := _signature(head)):
        return container
    return next((name for name in _BARE_FRAMES if _find_frames(upload, name) is not None), None)


def first_frame(upload: BinaryIO, container_name: str) -> int:
    """From where on the demuxer has to read `upload`: FFmpeg's looks only so far for a frame.

    Moves the upload's position.
    """
    found = _find_frames(upload, container_name) if container_name in _BARE_FRAMES else None
    return found or 0


def _signature(head: bytes) -> str | None:
    if head[:4] in _RIFF_MAGICS and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    return None


def _skip_tags(upload: BinaryIO, position: int = 0) -> int:
    """Where the upload goes on behind the ID3v2 tags that begin at `position`, in bytes."""
    for _ in range(_MAX_TAGS):
        upload.seek(position)
        tag = upload.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3" or max(tag[6:10]) > 0x7F:
            break
        has_footer = bool(tag[5] & 0x10)
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        position += 10 + size + (10 if has_footer else 0)
    return position


def _find_frames(upload: BinaryIO, container_name: str) -> int | None:
    """Where bare frames begin: 0 where FFmpeg's demuxer finds them, None where there are none."""
    start = _skip_tags(upload)
    if _find_chain(_read(upload, start, _NEAR.bytes), container_name, _NEAR) is not None:
        return 0
    head = _read(upload, start, _FAR.bytes)
    if (far := _find_chain(head, container_name, _FAR)) is not None:
        return start + far
    for tag in islice(_ID3.finditer(head), _MAX_TAGS):
        behind = _skip_tags(upload, start + tag.start())
        if _find_chain(_read(upload, behind, _NEAR.bytes), container_name, _NEAR) is not None:
            return start + tag.start()
    return None


def _read(upload: BinaryIO, position: int, count: int) -> bytes:
    upload.seek(position)
    return upload.read(count)


def _find_chain(data: bytes, container_name: str, search: _Search) -> int | None:
    """Where in `data` enough frames of one stream begin to follow one another."""
    pattern, parse = _BARE_FRAMES[container_name]
    starts = (found.start() for found in pattern.finditer(data))
    return next((at for at in starts if _is_chain(data, at, parse, search)), None)


def _is_chain(data: bytes, at: int, parse: Parse, search: _Search) -> bool:
    constants = None
    for frames in range(search.frames):
        if at >= len(data):
            # The file ends there, exactly or in the middle of a frame.
            return frames >= search.frames_to_the_end and len(data) < search.bytes
        frame = parse(data[at : at + 7])
        if frame is None or (constants is not None and frame[1] != constants):
            return False
        length, constants = frame
        at += length
    return True


def _mpeg_frame(header: bytes) -> Frame | None:
    """One frame of MPEG audio, layer I, II or III."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version = header[1] >> 3 & 3  # 0: MPEG-2.5, 1: reserved, 2: MPEG-2, 3: MPEG-1
    layer = 4 - (header[1] >> 1 & 3)  # 4: reserved
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in {0, 15} or rate == 3:
        return None
    hertz = _MPEG1_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits_per_second = _BITRATES[version == 3, layer][bitrate - 1] * 1000
    padding = header[2] >> 1 & 1
    if layer == 1:
        length = (12 * bits_per_second // hertz + padding) * 4
    else:
        short = layer == 3 and version != 3
        length = (72 if short else 144) * bits_per_second // hertz + padding
    return length, bytes((header[1] & 0xFE, header[2] & 0x0C))


def _adts_frame(header: bytes) -> Frame | None:
    """One frame of AAC in an Audio Data Transport Stream."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    rate = header[2] >> 2 & 15
    if length < 8 or rate > 12:
        return None
    return length, bytes((header[1], header[2], header[3] & 0xC0))


# The bytes that a frame may begin with, and how to read its header.
_BARE_FRAMES: dict[str, tuple[re.Pattern[bytes], Parse]] = {
    "mp3": (re.compile(rb"\xff(?=[\xe2-\xff][\x10-\xef])"), _mpeg_frame),
    "aac": (re.compile(rb"\xff(?=[\xf0\xf1\xf8\xf9])"), _adts_frame),
}
