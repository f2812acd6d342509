"""Uploads that name another file or an address, and what notices when somebody follows them."""

from __future__ import annotations

import ctypes
import io
import os
from pathlib import Path


class Canary:
    """A recording on the service's own disk, and whether somebody has opened it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(os.O_NONBLOCK)
        in_open, in_access = 0x20, 0x01
        assert self._libc.inotify_add_watch(self._watch, bytes(path), in_open | in_access) >= 0

    @property
    def touched(self) -> bool:
        try:
            return bool(os.read(self._watch, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._watch)


class Upload(io.BytesIO):
    """An upload with the name that its sender gave it."""

    name = "upload.m3u8"


def elsewhere(port: int, path: Path) -> dict[str, bytes]:
    here = f"http://127.0.0.1:{port}/segment.ts"
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n"
    return {
        "an HLS playlist that names an address": f"{head}{here}\n#EXT-X-ENDLIST\n".encode(),
        "an HLS playlist that names a file": f"{head}file://{path}\n#EXT-X-ENDLIST\n".encode(),
        "a concat script that names a file": b"ffconcat version 1.0\nfile canary.wav\n",
        "a session description with a stream": (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0\r\n"
        ).encode(),
        "a DASH manifest": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet>'
            f'<Representation id="1" bandwidth="1"><BaseURL>{here}</BaseURL></Representation>'
            "</AdaptationSet></Period></MPD>"
        ).encode(),
    }


DEMUXERS = {
    "an HLS playlist that names an address": "hls",
    "an HLS playlist that names a file": "hls",
    "a concat script that names a file": "concat",
    "a session description with a stream": "sdp",
    "a DASH manifest": "dash",
}
