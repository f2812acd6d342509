"""Media files of every container that is accepted, and what chance makes of them. All seeded."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from .conftest import Encoder

MANY = {"codec_options": {"mapping_family": "255"}}

# Name, container, codec, rate, layout, further arguments of `encode`.
SEEDS = (
    ("flac", "flac", "flac", 16000, "mono", {}),
    ("flac 5.1", "flac", "flac", 48000, "5.1", {}),
    ("m4a", "ipod", "aac", 44100, "stereo", {}),
    ("m4a alac", "ipod", "alac", 16000, "mono", {"sample_format": "s16p"}),
    ("mp3", "mp3", "libmp3lame", 44100, "stereo", {}),
    ("mp4", "mp4", "aac", 48000, "mono", {}),
    ("mp4 fragmented", "mp4", "aac", 48000, "mono", {"options": {"movflags": "frag_keyframe"}}),
    ("mp4 video", "mp4", "aac", 48000, "mono", {"with_video": True}),
    ("mov", "mov", "pcm_s16be", 16000, "mono", {}),
    ("mpeg", "mpeg", "mp2", 44100, "stereo", {}),
    ("mpeg video", "mpeg", "mp2", 44100, "mono", {"with_video": True}),
    ("mpga", "mp2", "mp2", 16000, "mono", {}),
    ("oga", "oga", "flac", 16000, "mono", {}),
    ("oga vorbis", "oga", "vorbis", 44100, "stereo", {"codec_options": {"strict": "-2"}}),
    ("ogg", "ogg", "libopus", 48000, "stereo", {}),
    ("ogg 9 channels", "ogg", "libopus", 48000, "9 channels", MANY),
    ("wav", "wav", "pcm_s16le", 16000, "mono", {}),
    ("wav float", "wav", "pcm_f32le", 44100, "stereo", {}),
    ("wav adpcm", "wav", "adpcm_ms", 22050, "mono", {}),
    ("webm", "webm", "libopus", 48000, "mono", {}),
    ("mkv video", "matroska", "ac3", 48000, "5.1", {"with_video": True}),
    ("aac", "adts", "aac", 44100, "stereo", {}),
)
SECONDS = 0.5

Random = np.random.Generator

_HEADER_BYTES = 400  # where most of what a demuxer believes stands
_TELLING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds(encode: Encoder) -> dict[str, bytes]:
    """One short file of each kind."""
    files = {}
    for name, container, codec, rate, layout, more in SEEDS:
        time = np.arange(round(SECONDS * rate)) / rate
        noise = np.random.default_rng(0).normal(0, 0.05, len(time))
        signal = 0.3 * np.sin(2 * np.pi * 300 * time) + noise
        files[name] = encode(
            signal, container=container, codec=codec, rate=rate, layout=layout, **more
        )
    return files


def mutant(files: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The name of the file that it was, and what became of it; the same for the same number."""
    names = list(files)
    name = names[number % len(names)]
    random = np.random.default_rng([20261122, number])
    data = bytearray(files[name])
    for _ in range(random.integers(1, 4)):
        mutation = MUTATIONS[random.integers(len(MUTATIONS))]
        other = files[names[random.integers(len(names))]]
        data = mutation(data, random, other) or bytearray(b"\0")
    return name, bytes(data)


def _place(data: bytearray, random: Random) -> int:
    """Anywhere, half of the time near the beginning."""
    end = min(len(data), _HEADER_BYTES) if random.random() < 0.5 else len(data)
    return int(random.integers(end))


def _flip_bits(data: bytearray, random: Random, _: bytes) -> bytearray:
    for _ in range(random.integers(1, 30)):
        data[_place(data, random)] ^= 1 << random.integers(8)
    return data


def _scatter_bytes(data: bytearray, random: Random, _: bytes) -> bytearray:
    for _ in range(random.integers(1, 60)):
        data[_place(data, random)] = random.integers(256)
    return data


def _write_a_telling_number(data: bytearray, random: Random, _: bytes) -> bytearray:
    """A length, a count or an offset becomes none, or far too large."""
    for _ in range(random.integers(1, 6)):
        code = ["<B", "<H", ">H", "<I", ">I", "<Q", ">Q"][random.integers(7)]
        size = struct.calcsize(code)
        value = _TELLING[random.integers(len(_TELLING))] & (256**size - 1)
        at = _place(data, random)
        data[at : at + size] = struct.pack(code, value)
    return data


def _cut_off(data: bytearray, random: Random, _: bytes) -> bytearray:
    return data[: random.integers(1, len(data) + 1)]


def _cut_out(data: bytearray, random: Random, _: bytes) -> bytearray:
    at = _place(data, random)
    del data[at : at + random.integers(1, 2000)]
    return data


def _repeat(data: bytearray, random: Random, _: bytes) -> bytearray:
    at = _place(data, random)
    piece = data[at : at + random.integers(1, 2000)]
    data[at:at] = piece * int(random.integers(1, 20))
    return data


def _insert_noise(data: bytearray, random: Random, _: bytes) -> bytearray:
    at = _place(data, random)
    data[at:at] = random.bytes(int(random.integers(1, 2000)))
    return data


def _blank(data: bytearray, random: Random, _: bytes) -> bytearray:
    at = _place(data, random)
    count = min(int(random.integers(1, 2000)), len(data) - at)
    data[at : at + count] = bytes([int(random.choice([0, 0xFF]))]) * count
    return data


def _swap(data: bytearray, random: Random, _: bytes) -> bytearray:
    first, second = sorted(_place(data, random) for _ in range(2))
    count = min(int(random.integers(1, 500)), second - first, len(data) - second)
    data[first : first + count], data[second : second + count] = (
        data[second : second + count],
        data[first : first + count],
    )
    return data


def _splice(data: bytearray, random: Random, other: bytes) -> bytearray:
    """The beginning of one file and the end of another."""
    return data[: _place(data, random)] + other[int(random.integers(len(other))) :]


def _append(data: bytearray, _: Random, other: bytes) -> bytearray:
    return data + other


MUTATIONS: tuple[Callable[[bytearray, Random, bytes], bytearray], ...] = (
    _flip_bits,
    _scatter_bytes,
    _write_a_telling_number,
    _cut_off,
    _cut_out,
    _repeat,
    _insert_noise,
    _blank,
    _swap,
    _splice,
    _append,
)
