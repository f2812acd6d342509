"""Files with tracks of every kind, and with the clocks that recorders give them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment, Encoding
Style: Default,Arial,16,&Hffffff,2,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_PICTURES_PER_SECOND = 10


@dataclass
class Sound:
    signal: NDArray[np.float64]  # float[n] or float[channels, n], at `rate`
    codec: str
    rate: int = 48_000
    layout: str = "mono"
    at: float = 0.0  # seconds
    time: Callable[[float], float | None] = lambda seconds: seconds  # None: the packet is lost
    default: bool | None = None  # None: as the container has it
    options: dict[str, str] = field(default_factory=dict)

    def add(self, output: Any) -> Any:
        stream = output.add_stream(
            self.codec, rate=self.rate, layout=self.layout, options=self.options
        )
        if self.default is not None:
            stream.disposition = Disposition.default if self.default else 0
        return stream

    def packets(self, stream: Any) -> list[Any]:
        channels = stream.codec_context.layout.nb_channels
        planes = np.broadcast_to(self.signal, (channels, self.signal.shape[-1])).astype(np.float32)
        packets = []
        for first in range(0, planes.shape[1], self.rate // 10):
            piece = planes[:, first : first + self.rate // 10].T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=self.layout)
            frame.sample_rate, frame.pts = self.rate, first
            packets += stream.encode(frame)
        kept = []
        for packet in [*packets, *stream.encode(None)]:
            time = self.time(float(packet.pts * packet.time_base))
            if time is not None:
                packet.pts = packet.dts = round((time + self.at) / packet.time_base)
                kept.append(packet)
        return kept


@dataclass
class Picture:
    seconds: float
    at: float = 0.0

    def add(self, output: Any) -> Any:
        codec = "libvpx" if output.format.name == "webm" else "mpeg4"
        stream = output.add_stream(codec, rate=_PICTURES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        return stream

    def packets(self, stream: Any) -> list[Any]:
        image = np.full((48, 64, 3), 90, np.uint8)
        packets = []
        for _ in range(round(self.seconds * _PICTURES_PER_SECOND)):
            packets += stream.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
        packets += stream.encode(None)
        for packet in packets:
            packet.pts += round(self.at / packet.time_base)
            packet.dts += round(self.at / packet.time_base)
        return packets


@dataclass
class Captions:
    codec: str
    seconds: int = 3

    def add(self, output: Any) -> Any:
        stream = output.add_stream(self.codec)
        stream.codec_context.subtitle_header = _HEADER
        stream.time_base = Fraction(1, 1000)
        return stream

    def packets(self, stream: Any) -> list[Any]:
        text = b"Hello"
        if self.codec == "mov_text":
            text = len(text).to_bytes(2) + text
        if self.codec == "ass":
            text = b"0,0,Default,,0,0,0,,Hello"
        return [_packet(text, stream, 1000 * second) for second in range(self.seconds)]


@dataclass
class Attachment:
    name: str = "sans.ttf"
    kind: str = "application/x-truetype-font"

    def add(self, output: Any) -> Any:
        return output.add_attachment(self.name, self.kind, b"\0\1\0\0" * 100)

    def packets(self, _: Any) -> list[Any]:
        return []


def _packet(data: bytes, stream: Any, milliseconds: int) -> Any:
    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = milliseconds
    packet.duration = 900
    return packet


def made(
    container: str,
    tracks: Sequence[Sound | Picture | Captions | Attachment],
    *,
    options: dict[str, str] | None = None,
    chapters: int = 0,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """A file with these tracks, in this order."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as output:
        output.metadata.update(metadata or {})
        if chapters:
            unit = Fraction(1, 1000)
            output.set_chapters(
                [
                    {"id": n, "start": 1000 * n, "end": 1000 * n + 1000, "time_base": unit,
                     "metadata": {"title": f"Chapter {n}"}}
                    for n in range(chapters)
                ]
            )  # fmt: skip
        streams = [track.add(output) for track in tracks]
        packets = [
            packet
            for track, stream in zip(tracks, streams, strict=True)
            for packet in track.packets(stream)
        ]
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            output.mux(packet)
    return file.getvalue()
