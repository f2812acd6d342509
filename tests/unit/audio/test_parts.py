"""A file that is several files is read whole, or to where it breaks, and says where that is."""

from __future__ import annotations

import io

import numpy as np
import pytest

from whisper_service.audio.arriving import ArrivingSamples
from whisper_service.audio.decode import DecodeLimits, decode_pieces
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.audio.parts import find_parts
from whisper_service.audio.upload_reader import Watch
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.errors import Fault, ServiceError

from .conftest import encode_audio
from .containers_made import Attachment, Sound, made

LIMITS = DecodeLimits(max_seconds=600, timeout_seconds=20)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
NOISE = np.random.default_rng(5).bytes(20_000)


def tone(rate: int, hertz: float, seconds: float = 2.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def file(container, codec, rate, hertz, layout="mono", **more) -> bytes:
    return encode_audio(
        tone(rate, hertz), container=container, codec=codec, rate=rate, layout=layout, **more
    )


def read(data: bytes) -> tuple[Samples, float | None]:
    """The samples, and the second at which the file broke."""
    pieces, decoded = decode_pieces(io.BytesIO(data), LIMITS), []
    while True:
        try:
            decoded.append(next(pieces))
        except StopIteration as end:
            return np.concatenate(decoded), end.value


def pitch(samples: Samples) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


VORBIS = {"codec_options": {"strict": "-2"}}
PAIRS = {
    "ogg, more channels": [
        ("ogg", "libopus", 48_000, 400),
        ("ogg", "libopus", 48_000, 900, "stereo"),
    ],
    "ogg, another rate": [
        ("ogg", "flac", 16_000, 400),
        ("ogg", "flac", 44_100, 900, "stereo"),
    ],
    "ogg, the same": [("ogg", "libopus", 48_000, 400), ("ogg", "libopus", 48_000, 900)],
    "ogg, another codec": [("ogg", "flac", 44_100, 400), ("ogg", "libopus", 48_000, 900)],
    "flac, another rate": [("flac", "flac", 16_000, 400), ("flac", "flac", 44_100, 900, "stereo")],
    "flac, the same": [("flac", "flac", 16_000, 400), ("flac", "flac", 16_000, 900)],
    "wav": [("wav", "pcm_s16le", 16_000, 400), ("wav", "pcm_s16le", 8_000, 900, "stereo")],
    "webm": [("webm", "libopus", 48_000, 400), ("webm", "libopus", 48_000, 900, "stereo")],
    "mkv": [("matroska", "aac", 44_100, 400), ("matroska", "flac", 16_000, 900)],
    "mp4": [("mp4", "aac", 44_100, 400), ("mp4", "aac", 16_000, 900, "stereo")],
    "mov": [("mov", "pcm_s16le", 44_100, 400), ("mov", "pcm_s16le", 16_000, 900)],
    "mp3": [("mp3", "libmp3lame", 44_100, 400), ("mp3", "libmp3lame", 16_000, 900)],
    "aac": [("adts", "aac", 44_100, 400), ("adts", "aac", 16_000, 900)],
}


def check_both(samples: Samples) -> None:
    assert len(samples) == pytest.approx(4 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)
    assert pitch(samples[: int(1.8 * SAMPLE_RATE)]) == pytest.approx(400, abs=2)
    assert pitch(samples[int(-1.8 * SAMPLE_RATE) :]) == pytest.approx(900, abs=2)


@pytest.mark.parametrize("pair", PAIRS)
def test_two_files_in_one_are_read_one_after_the_other(pair):
    samples, broken_at = read(b"".join(file(*part) for part in PAIRS[pair]))
    check_both(samples)
    assert broken_at is None


def test_vorbis_radio_recordings_are_read_whole():
    links = [
        file("ogg", "vorbis", 44_100, 400, "stereo", **VORBIS),
        file("ogg", "vorbis", 22_050, 900, "stereo", **VORBIS),
    ]
    check_both(read(b"".join(links))[0])


@pytest.mark.parametrize("rates", [(44_100, 16_000), (16_000, 48_000), (44_100, 44_100)])
def test_a_fragmented_movie_behind_another_is_read(rates):
    pair = zip(rates, (400, 900), strict=True)
    data = b"".join(file("mp4", "aac", rate, hertz, options=FRAGMENTS) for rate, hertz in pair)
    check_both(read(data)[0])


def test_a_second_movie_without_a_file_type_is_read():
    second = file("mp4", "aac", 16_000, 900, options=FRAGMENTS)
    without_type = second[int.from_bytes(second[:4]) :]
    assert without_type[4:8] == b"moov"
    check_both(read(file("mp4", "aac", 44_100, 400, options=FRAGMENTS) + without_type)[0])


def test_many_links_are_read_in_order():
    links = [file("ogg", "libopus", 48_000, 300 + 100 * n, "mono") for n in range(6)]
    samples, _ = read(b"".join(links))
    heard = [pitch(samples[n * 2 * SAMPLE_RATE :][: 2 * SAMPLE_RATE]) for n in range(6)]
    assert heard == pytest.approx([300 + 100 * n for n in range(6)], abs=2)


def test_tags_before_the_first_flac_are_no_part():
    tags = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)
    pair = [file(*part) for part in PAIRS["flac, another rate"]]
    samples, broken_at = read(tags + b"".join(pair))
    check_both(samples)
    assert broken_at is None


def test_streams_that_begin_together_are_no_chain():
    tracks = [Sound(tone(48_000, 400), "libopus"), Sound(tone(48_000, 900), "libopus")]
    assert_one_part(made("ogg", tracks), "ogg")


def test_an_attached_file_is_no_part():
    inner = file("matroska", "flac", 16_000, 900)

    class Inner(Attachment):
        def add(self, output):
            return output.add_attachment("inner.mkv", "video/x-matroska", inner)

    data = made("matroska", [Sound(tone(48_000, 400), "libopus"), Inner()])
    assert inner in data
    assert_one_part(data, "matroska")


def assert_one_part(data: bytes, container_name: str) -> None:
    parts = find_parts(io.BytesIO(data), container_name, 0, Watch(10, lambda: False))
    assert parts == [range(len(data))]


def test_a_signature_on_the_seam_of_two_reads_is_found():
    first = file("flac", "flac", 16_000, 400)
    for padding in (1024 * 1024 - 20, 1024 * 1024 - 3, 1024 * 1024):
        filled = first + bytes(padding - len(first))
        parts = find_parts(io.BytesIO(filled + first), "flac", 0, Watch(10, lambda: False))
        assert parts == [range(padding), range(padding, padding + len(first))]


# Where it breaks


BROKEN = {
    "an ogg link without its beginning": (
        ("ogg", "libopus", 48_000, 400),
        lambda: file("ogg", "libopus", 48_000, 900, "stereo")[:60] + NOISE,
    ),
    "flac and noise": (
        ("flac", "flac", 16_000, 400),
        lambda: file("flac", "flac", 44_100, 900, "stereo")[:200] + NOISE,
    ),
    "a movie without its media": (
        ("mp4", "aac", 44_100, 400, {"options": FRAGMENTS}),
        lambda: file("mp4", "aac", 16_000, 900, options=FRAGMENTS)[:40] + NOISE,
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_where_the_second_part_cannot_be_read_the_first_is_and_it_is_said(kind, caplog):
    caplog.set_level("INFO", "whisper_service")
    first, second = BROKEN[kind]
    options = first[4] if len(first) > 4 else {}
    samples, broken_at = read(file(*first[:4], **options) + second())
    assert pitch(samples[: int(1.8 * SAMPLE_RATE)]) == pytest.approx(400, abs=2)
    assert broken_at == pytest.approx(2.0, abs=0.06)
    assert "broke at 2.0" in caplog.text


def damaged_from(data: bytes, share: float) -> bytes:
    """From there on, every packet's bytes are others; the container's structure stays."""
    import av

    written = bytearray(data)
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        for packet in packets[int(len(packets) * share) :]:
            written[packet.pos : packet.pos + packet.size] = b"\xaa" * packet.size
    return bytes(written)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_decoder_that_gives_up_after_good_audio_leaves_what_it_decoded(share):
    whole = encode_audio(tone(48_000, 400, 10), container="mp4", codec="aac", rate=48_000)
    samples, broken_at = read(damaged_from(whole, share))
    assert broken_at == pytest.approx(10 * share, abs=0.2)
    assert len(samples) / SAMPLE_RATE == pytest.approx(10 * share, abs=0.2)
    assert pitch(samples) == pytest.approx(400, abs=1)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp3", "libmp3lame"), ("flac", "flac"), ("wav", "pcm_s16le"), ("ogg", "libopus"),
     ("mp4", "aac"), ("webm", "libopus"), ("adts", "aac"), ("mpeg", "mp2")],
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), bytes(5000), NOISE[:700]])
def test_a_sound_file_is_not_called_broken_whatever_is_appended(container, codec, tail):
    assert read(file(container, codec, 48_000, 400) + tail)[1] is None


def test_where_nothing_can_be_decoded_it_is_an_error():
    broken = damaged_from(file("mp4", "aac", 48_000, 400), 0.0)
    with pytest.raises(ServiceError) as caught:
        read(broken)
    assert caught.value.fault is Fault.UNREADABLE_AUDIO


def test_the_other_process_says_where_it_broke(isolated_decoder: IsolatedDecoder):
    data = file("ogg", "libopus", 48_000, 400) + BROKEN["an ogg link without its beginning"][1]()
    arriving = ArrivingSamples(60)
    isolated_decoder.decode(io.BytesIO(data), LIMITS, arriving=arriving)
    assert arriving.broken_at == pytest.approx(2.0, abs=0.01)
    arriving = ArrivingSamples(60)
    isolated_decoder.decode(
        io.BytesIO(file("wav", "pcm_s16le", 16_000, 400)), LIMITS, arriving=arriving
    )
    assert arriving.broken_at is None


# Bare frames behind junk


JUNK = {
    "zeros": bytes(1_000_000),
    "a megabyte of zeros": bytes(1024 * 1024),
    "noise": np.random.default_rng(6).bytes(1_000_000),
    "ones": b"\xff" * 1_000_000,
    "text": b"HTTP/1.1 200 OK\r\n" * 50_000,
    "a little": bytes(70_000),
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("tagged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_mp3_behind_a_megabyte_of_anything_is_found(junk, tagged):
    data = file("mp3", "libmp3lame", 44_100, 400)
    picture = b"ID3\x03\x00\x00\x00\x10\x00\x00" + bytes(16 << 14)
    bare = data[data.index(b"\xff") :]
    samples, broken_at = read(JUNK[junk] + (picture + bare if tagged else bare))
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    assert pitch(samples) == pytest.approx(400, abs=1)
    assert broken_at is None


@pytest.mark.parametrize("seed", range(5))
def test_megabytes_of_noise_are_no_mp3(seed):
    with pytest.raises(ServiceError) as caught:
        read(np.random.default_rng(100 + seed).bytes(2_000_000))
    assert caught.value.fault is Fault.UNREADABLE_AUDIO
