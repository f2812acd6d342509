"""Recordings for the measurements: real speech of any length in any format, and what is none."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from samples import samples_folder
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples

# Container, codec and bits a second, by the name that a client gives the format.
FORMATS: Final = {
    "wav": ("wav", "pcm_s16le", None),
    "flac": ("flac", "flac", None),
    "mp3": ("mp3", "libmp3lame", 32_000),
    "ogg": ("ogg", "libopus", 24_000),
    "webm": ("webm", "libopus", 24_000),
    "m4a": ("ipod", "aac", 32_000),
}
_PAUSE: Final = np.zeros(SAMPLE_RATE // 2, np.float32)


@dataclass(frozen=True, eq=False)
class Clip:
    language: str
    samples: Samples

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def load_clips() -> list[Clip]:
    """The recorded speech, in nine languages."""
    limits = DecodeLimits(max_seconds=60, timeout_seconds=60)
    clips = []
    for path in sorted(samples_folder().glob("*/*.wav")):
        with path.open("rb") as file:
            clips.append(Clip(path.parent.name, decode(file, limits)))
    return clips


def long_speech(clips: list[Clip], seconds: float, seed: int = 0) -> Samples:
    """Sentences of one language in random order, with pauses."""
    chance = random.Random(seed)
    parts: list[Samples] = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        parts += [chance.choice(clips).samples, _PAUSE]
    joined: Samples = np.concatenate(parts)
    return joined[: round(seconds * SAMPLE_RATE)]


def encode(samples: Samples, name: str, bit_rate: int | None = None) -> bytes:
    """The samples as a file of the format, which is one of `FORMATS`."""
    container, codec, usual_rate = FORMATS[name]
    rate = 48_000 if codec == "libopus" else SAMPLE_RATE
    file = io.BytesIO()
    # A header with the length would end the decoding of files that are put behind one another.
    options = {"write_xing": "0"} if name == "mp3" else {}
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if bit_rate or usual_rate:
            stream.bit_rate = bit_rate or usual_rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        values = np.round(np.clip(samples, -1, 1) * 32_767).astype(np.int16)
        for start in range(0, len(values), SAMPLE_RATE):
            block = np.ascontiguousarray(values[None, start : start + SAMPLE_RATE])
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    return file.getvalue()


def hours_of_speech(clips: list[Clip], hours: float) -> bytes:
    """An MP3 of so many hours that fits into an upload: ten minutes, over and over."""
    ten_minutes = encode(long_speech(clips, 600), "mp3", bit_rate=16_000)
    return ten_minutes * round(hours * 6)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file with some of its bytes changed, or a part of it missing."""
    broken = bytearray(data)
    for _ in range(chance.randrange(1, 40)):
        early = chance.random() < 0.5
        broken[chance.randrange(min(len(broken), 400) if early else len(broken))] ^= (
            1 << chance.randrange(8)
        )
    if chance.random() < 0.3:
        del broken[chance.randrange(len(broken)) :]
    return bytes(broken) or b"\0"


def lures(port: int) -> list[bytes]:
    """Files that would have a decoder open another file or an address."""
    here = f"http://127.0.0.1:{port}/secret"
    return [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{here}\n#EXT-X-ENDLIST\n".encode(),
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio {port} RTP/AVP 0\r\n".encode(),
        Path(__file__).read_bytes(),
        b"\0" * 10_000,
    ]
