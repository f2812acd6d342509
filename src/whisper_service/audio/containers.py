"""Which container an upload is, told from its own first bytes.

FFmpeg's probing takes its best guess: random bytes, it says, are MP3, and decodes them to noise.
Here a file is what its signature says, and bare MPEG or AAC frames count only when several follow
one another, or it is nothing that we accept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

FORMATS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
"""What the API says it accepts; the list is OpenAI's."""

_SEARCHED_BYTES = 64 * 1024  # as far as FFmpeg's MP3 demuxer looks for the first frame
_FRAMES_IN_A_ROW = 3  # random bytes hold two matching headers once in 10^4 files, three in 10^9
_MAX_TAGS = 8  # ID3v2 tags before the audio; more than one is already odd

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


def sniff(upload: BinaryIO) -> str | None:
    """The name of the FFmpeg demuxer that reads `upload`, or None where none that we allow does.

    Moves the upload's position.
    """
    start = _skip_tags(upload)
    upload.seek(start)
    head = upload.read(_SEARCHED_BYTES)
    if head.startswith(b"fLaC"):
        return "flac"
    if start == 0 and (container := _signature(head)):
        return container
    if _has_chain(head, _mpeg_frame):
        return "mp3"
    if _has_chain(head, _adts_frame):
        return "aac"
    return None


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


def _skip_tags(upload: BinaryIO) -> int:
    """Where the upload goes on behind its ID3v2 tags, in bytes."""
    position = 0
    for _ in range(_MAX_TAGS):
        upload.seek(position)
        tag = upload.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3" or max(tag[6:10]) > 0x7F:
            break
        has_footer = bool(tag[5] & 0x10)
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        position += 10 + size + (10 if has_footer else 0)
    return position


def _has_chain(head: bytes, parse: Callable[[bytes], Frame | None]) -> bool:
    """Whether somewhere in `head` enough frames of one stream follow one another."""
    at = head.find(b"\xff")
    while at >= 0:
        if _is_chain(head, at, parse):
            return True
        at = head.find(b"\xff", at + 1)
    return False


def _is_chain(head: bytes, at: int, parse: Callable[[bytes], Frame | None]) -> bool:
    constants = None
    for frames in range(_FRAMES_IN_A_ROW):
        if at >= len(head):
            # The shortest of files may end after two frames, exactly or in the middle of one.
            return frames == _FRAMES_IN_A_ROW - 1 and len(head) < _SEARCHED_BYTES
        frame = parse(head[at : at + 7])
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
