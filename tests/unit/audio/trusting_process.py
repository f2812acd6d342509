"""A decoding process without some of the care that the real one takes with what it opens.

Its arguments: `credulous`, which lets in any container, or `careless`, which in addition opens it
as FFmpeg does by default; and the demuxer for what has no signature that is known.
"""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import av

from whisper_service.audio import decode, decoding_process

how, demuxer = sys.argv.pop(1), sys.argv.pop(1)
sniff = decode.sniff


def let_in(upload: BinaryIO) -> str:
    return sniff(upload) or demuxer


def open_carelessly(reader: Any, container_name: str, _: object) -> Any:
    reader.name = "upload.m3u8"
    return av.open(reader, format=container_name, timeout=5)


decode.sniff = let_in
if how == "careless":
    decode._open = open_carelessly
if __name__ == "__main__":
    decoding_process.main()
