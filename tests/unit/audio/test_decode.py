"""Whatever a stranger uploads becomes samples, or a clear refusal; never anything else."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler

from whisper_service.audio import decode as decode_module
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.audio.mixdown import Mixdown
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.errors import Fault, ServiceError

from .lures import DEMUXERS, Upload, elsewhere

LIMITS = DecodeLimits(max_seconds=600, timeout_seconds=20)
SUPPORTED = "flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, wav, webm"


def read(data: bytes, limits: DecodeLimits = LIMITS) -> Samples:
    return decode(io.BytesIO(data), limits)


def refusal(data: bytes, limits: DecodeLimits = LIMITS) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        read(data, limits)
    assert caught.value.param == "file"
    return caught.value


def outcome(data: bytes, limits: DecodeLimits) -> Samples | Fault:
    try:
        return read(data, limits)
    except ServiceError as error:
        return error.fault


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def sweep(rate: int, seconds: float = 2.0) -> np.ndarray:
    """A tone that rises from 200 to 3,000 Hz: it looks the same nowhere, so that a delay shows."""
    t = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * (200 * t + 1400 * t**2 / seconds))


def resampled_by_ffmpeg(signal: np.ndarray, rate: int) -> Samples:
    """What FFmpeg's own resampler makes of one channel, without container and codec."""
    frame = av.AudioFrame.from_ndarray(signal.astype(np.float32)[None], "fltp", "mono")
    frame.sample_rate = rate
    resampler = AudioResampler("flt", "mono", SAMPLE_RATE)
    pieces = [*resampler.resample(frame)]
    if rate != SAMPLE_RATE:
        pieces += resampler.resample(None)
    return np.concatenate([piece.to_ndarray().reshape(-1) for piece in pieces])


def delay(decoded: Samples, original: Samples) -> int:
    """By how many samples `decoded` lags behind `original`."""
    size = len(decoded) + len(original)
    spectrum = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(original, size))
    lag = int(np.fft.irfft(spectrum, size).argmax())
    return lag if lag < len(decoded) else lag - size


def wav(
    frames: bytes, *, channels: int = 1, rate: int = SAMPLE_RATE, bits: int = 16, code: int = 1
) -> bytes:
    """A WAV file written by hand, to say what no encoder would."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", code, channels, rate, rate * block % 2**32, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(frames)) + frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


LOSSLESS = [
    ("wav", "pcm_u8", None),
    ("wav", "pcm_s16le", None),
    ("wav", "pcm_s24le", None),
    ("wav", "pcm_s32le", None),
    ("wav", "pcm_f32le", None),
    ("wav", "pcm_f64le", None),
    ("flac", "flac", "s16"),
    ("flac", "flac", "s32"),
    ("ogg", "flac", "s16"),
    ("ipod", "alac", "s16p"),
    ("matroska", "pcm_s16le", None),
    ("mov", "pcm_s16be", None),
]


@pytest.mark.parametrize(("container", "codec", "sample_format"), LOSSLESS)
def test_lossless_audio_comes_out_as_it_went_in(encode, container, codec, sample_format):
    signal = sweep(SAMPLE_RATE)
    data = encode(
        signal, container=container, codec=codec, rate=SAMPLE_RATE, sample_format=sample_format
    )
    samples = read(data)
    assert samples.dtype == np.float32
    assert len(samples) == len(signal)
    rounding = 2 / 256 if codec == "pcm_u8" else 2 / 32768
    assert np.abs(samples - signal).max() < rounding


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("hertz", [100, 1000, 3000])
def test_any_sample_rate_is_resampled_as_ffmpeg_does_it(encode, rate, hertz):
    signal = tone(rate, hertz=hertz)
    samples = read(encode(signal, container="wav", codec="pcm_f32le", rate=rate))
    expected = resampled_by_ffmpeg(signal, rate)
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    assert len(samples) == len(expected)
    assert np.abs(samples - expected).max() < 1e-5
    ideal = tone(SAMPLE_RATE, hertz=hertz)
    inner = slice(400, len(samples) - 400)  # the ends miss neighbours
    assert np.abs(samples[inner] - ideal[inner]).max() < 2e-3


def test_a_tone_above_what_16_khz_can_hold_is_filtered_out_not_folded_back(encode):
    data = encode(tone(48000, hertz=11_000), container="wav", codec="pcm_f32le", rate=48000)
    assert np.abs(read(data)[400:-400]).max() < 0.01


@pytest.mark.parametrize("layout", ["stereo", "2.1", "quad", "5.1"])
def test_channels_that_say_the_same_are_mixed_down_without_getting_louder(encode, layout):
    signal = 1.8 * tone(48000)  # 0.9 of full scale: 3 dB more would be clipped
    data = encode(signal, container="wav", codec="pcm_s16le", rate=48000, layout=layout)
    samples = read(data)[400:-400]
    assert 0.6 < np.abs(samples).max() < 0.92


def test_a_voice_on_one_channel_only_is_heard(encode):
    both = np.stack([tone(SAMPLE_RATE), np.zeros(SAMPLE_RATE)])
    data = encode(both, container="wav", codec="pcm_s16le", rate=SAMPLE_RATE, layout="stereo")
    assert np.abs(read(data)).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("channels", [3, 7, 9, 32, 70])
def test_layouts_that_nobody_has_a_name_for_are_mixed_down(channels):
    frames = np.repeat((tone(SAMPLE_RATE) * 32767).astype("<i2")[:, None], channels, axis=1)
    samples = read(wav(frames.tobytes(), channels=channels))
    assert len(samples) == SAMPLE_RATE
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("channels", [9, 12, 33, 60])
def test_channels_that_lie_apart_are_mixed_down_and_nothing_else_is(
    isolated_decoder, encode, channels
):
    """PyAV 18.1 reads behind the list of channels where there are more than seven: it crashed."""
    data = encode(
        tone(48_000),
        container="ogg",
        codec="libopus",
        rate=48_000,
        layout=f"{channels} channels",
        codec_options={"mapping_family": "255"},
    )
    samples = isolated_decoder.decode(io.BytesIO(data), LIMITS)
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.5, abs=0.02)
    assert np.corrcoef(samples[1000:-1000], tone(SAMPLE_RATE)[1000:-1000])[0, 1] > 0.99


# The delay allowed, in samples of 16 kHz: nothing where the container tells the decoder what the
# encoder added; what AAC adds where it cannot (1,024 samples of its own rate), in bare ADTS.
LOSSY = [
    ("mp3", "libmp3lame", 16000, 0, 8),
    ("mp3", "libmp3lame", 44100, 0, 8),
    ("ogg", "libopus", 48000, 0, 8),
    ("webm", "libopus", 48000, 0, 8),
    ("ipod", "aac", 44100, 0, 800),
    ("mp4", "aac", 48000, 0, 800),
    ("adts", "aac", 44100, 372, 1200),
    ("mp2", "mp2", 44100, 175, 900),
    ("mpeg", "mp2", 44100, 175, 900),
]


@pytest.mark.parametrize(("container", "codec", "rate", "lag", "excess"), LOSSY)
def test_lossy_audio_keeps_its_sound_its_length_and_its_time(
    encode, container, codec, rate, lag, excess
):
    original = sweep(SAMPLE_RATE)
    samples = read(encode(sweep(rate), container=container, codec=codec, rate=rate))
    assert 0 <= len(samples) - len(original) + 2 <= excess
    assert delay(samples, original) == pytest.approx(lag, abs=16)  # 1 ms
    shifted = samples[delay(samples, original) :][: len(original)] if lag else samples
    common = min(len(shifted), len(original))
    assert np.corrcoef(shifted[:common], original[:common])[0, 1] > 0.9


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_every_kind_of_mp3_is_known_by_its_frames(encode, rate, layout):
    data = encode(sweep(rate), container="mp3", codec="libmp3lame", rate=rate, layout=layout)
    without_tag = data[data.index(b"\xff") :]
    for upload in (without_tag, bytes(2000) + without_tag, b"junk" * 1000 + without_tag):
        assert len(read(upload)) == pytest.approx(2 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus")])
def test_the_audio_track_of_a_video_is_read_and_no_picture_is_decoded(encode, container, codec):
    data = encode(sweep(48000), container=container, codec=codec, rate=48000, with_video=True)
    samples = read(data)
    assert delay(samples, sweep(SAMPLE_RATE)) == pytest.approx(0, abs=16)


def test_a_recording_whose_rate_and_layout_change_on_the_way_is_read_whole(encode):
    parts = [("mono", 16000), ("stereo", 16000), ("mono", 8000), ("mono", 16000)]
    data = b"".join(
        encode(tone(rate), container="mp3", codec="libmp3lame", rate=rate, layout=layout)
        for layout, rate in parts
    )
    assert len(read(data)) == pytest.approx(4 * SAMPLE_RATE, abs=0.5 * SAMPLE_RATE)


def test_a_title_that_is_not_utf8_does_not_matter(encode):
    data = encode(tone(SAMPLE_RATE), container="mp3", codec="libmp3lame", rate=SAMPLE_RATE)
    title = b"\x00Caf\xe9 \xff\xfe"
    frame = b"TIT2" + struct.pack(">I", len(title)) + b"\x00\x00" + title
    assert len(read(_id3(frame) + data)) == pytest.approx(SAMPLE_RATE, abs=2000)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("adts", "aac")]
)
def test_audio_behind_a_cover_picture_of_megabytes_is_found(encode, container, codec):
    data = encode(tone(SAMPLE_RATE), container=container, codec=codec, rate=SAMPLE_RATE)
    picture = b"\x00image/png\x00\x03\x00" + b"\x89PNG" + os.urandom(6_000_000)
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\x00\x00" + picture
    assert len(read(_id3(frame) + data)) == pytest.approx(SAMPLE_RATE, abs=2000)


def _id3(frames: bytes) -> bytes:
    size = len(frames)
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + synchsafe + frames


def test_what_is_not_a_number_becomes_silence_and_nothing_is_louder_than_full_scale():
    values = tone(SAMPLE_RATE).astype("<f4")
    values[100:200], values[300:400], values[500:600] = np.nan, np.inf, -np.inf
    values[700:800], values[900:1000] = 1e30, -7
    samples = read(wav(values.tobytes(), bits=32, code=3))
    assert np.isfinite(samples).all()
    assert not samples[100:200].any()
    assert not samples[300:400].any()
    assert not samples[500:600].any()
    assert (samples[700:800] == 1).all()
    assert (samples[900:1000] == -1).all()
    assert samples[2000:] == pytest.approx(values[2000:])


# Too little, too much


def test_an_empty_upload_is_called_empty():
    error = refusal(b"")
    assert error.fault is Fault.UNREADABLE_AUDIO
    assert error.message == "The file is empty."


def test_a_tenth_of_a_second_is_enough_and_less_is_too_short(encode):
    frames = b"\x01\x00" * 1600
    assert len(read(wav(frames))) == 1600
    assert refusal(wav(frames[:-2])).fault is Fault.AUDIO_TOO_SHORT
    assert refusal(wav(b"")).fault is Fault.UNREADABLE_AUDIO


def test_a_small_upload_that_holds_much_audio_is_refused_before_it_is_decoded_whole(encode):
    half_an_hour = np.zeros(1800 * 8000, np.float32)
    upload = io.BytesIO(encode(half_an_hour, container="flac", codec="flac", rate=8000))
    with pytest.raises(ServiceError) as caught:
        decode(upload, DecodeLimits(max_seconds=60, timeout_seconds=20))
    assert caught.value.fault is Fault.AUDIO_TOO_LONG
    assert "60 s" in caught.value.message
    assert upload.tell() < len(upload.getvalue()) / 2


def test_a_single_packet_that_holds_hours_is_refused_before_it_is_resampled(monkeypatch):
    monkeypatch.setattr(Mixdown, "push", lambda *_: pytest.fail("resampled"))
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000 * 3600), np.uint8), "u8", "mono")
    frame.sample_rate = 4000
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        output.mux(output.add_stream("pcm_u8", rate=4000, layout="mono").encode(frame))
    limits = DecodeLimits(max_seconds=60, timeout_seconds=20)
    assert refusal(file.getvalue(), limits).fault is Fault.AUDIO_TOO_LONG


@pytest.mark.parametrize("claimed", [0, 10, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_that_lies_about_the_length_neither_costs_memory_nor_loses_audio(claimed):
    data = bytearray(wav((tone(SAMPLE_RATE, 3) * 32767).astype("<i2").tobytes()))
    data[40:44] = struct.pack("<I", claimed)
    if claimed == 10:  # it says that there is next to nothing: that is believed
        assert refusal(bytes(data)).fault is Fault.AUDIO_TOO_SHORT
    else:
        assert len(read(bytes(data))) == 3 * SAMPLE_RATE


@pytest.mark.parametrize("rate", [0, 1, 100, 2_000_000_000])
def test_an_absurd_sample_rate_is_refused_before_the_resampler_builds_its_tables(rate):
    start = time.monotonic()
    assert refusal(wav(b"\x00\x01" * 4000, rate=rate)).fault is Fault.UNREADABLE_AUDIO
    assert time.monotonic() - start < 1


def test_an_upload_that_comes_too_slowly_is_given_up_when_the_time_is_up():
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.05)
            return super().read(min(size or 0, 2048) if size != -1 else -1)

    upload = Slow(wav(b"\x00\x01" * 2_000_000))
    start = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        decode(upload, DecodeLimits(max_seconds=600, timeout_seconds=0.3))
    assert caught.value.fault is Fault.TIMED_OUT
    assert time.monotonic() - start < 2


def test_decoding_stops_soon_after_it_was_cancelled(encode):
    upload = io.BytesIO(encode(np.zeros(600 * 8000), container="flac", codec="flac", rate=8000))
    gone = threading.Event()
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        if asked == 20:
            gone.set()
        return gone.is_set()

    with pytest.raises(ServiceError) as caught:
        decode(upload, LIMITS, cancelled)
    assert caught.value.fault is Fault.TIMED_OUT
    assert "cancelled" in caught.value.message
    assert asked < 30


# Damage


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("wav", "pcm_s16le", 16000),
        ("mp3", "libmp3lame", 44100),
        ("flac", "flac", 16000),
        ("ogg", "libopus", 48000),
        ("webm", "libopus", 48000),
        ("adts", "aac", 44100),
    ],
)
def test_a_truncated_file_gives_what_is_there(encode, container, codec, rate):
    data = encode(sweep(rate, 4), container=container, codec=codec, rate=rate)
    samples = read(data[: len(data) // 2])
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=1.1 * SAMPLE_RATE)  # a page of Ogg
    assert delay(samples, sweep(SAMPLE_RATE, 4)) < 400


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("mp3", "libmp3lame", 44100),
        ("flac", "flac", 16000),
        ("ogg", "libopus", 48000),
        ("adts", "aac", 44100),
        ("mp4", "aac", 44100),
    ],
)
def test_a_damaged_place_costs_little_more_than_itself(encode, container, codec, rate):
    data = bytearray(encode(sweep(rate, 6), container=container, codec=codec, rate=rate))
    middle = len(data) // 2
    data[middle : middle + 700] = np.random.default_rng(3).bytes(700)
    samples = read(bytes(data))
    assert len(samples) == pytest.approx(6 * SAMPLE_RATE, abs=2.1 * SAMPLE_RATE)
    original = sweep(SAMPLE_RATE, 6)
    end = original[-SAMPLE_RATE:]
    found = samples[delay(samples, end) :][: len(end)]
    assert np.corrcoef(found, end[: len(found)])[0, 1] > 0.9


def test_what_follows_a_damaged_packet_keeps_its_time(encode):
    data = encode(sweep(48000, 3), container="mp4", codec="aac", rate=48000)
    whole = read(data)
    broken = bytearray(data)
    with av.open(io.BytesIO(data)) as container:
        packet = bytes([*container.demux()][70])
    at = data.index(packet)
    broken[at : at + len(packet)] = b"\xaa" * len(packet)
    samples = read(bytes(broken))
    assert abs(len(samples) - len(whole)) <= 1
    assert not np.array_equal(samples, whole)
    assert abs(delay(samples[-SAMPLE_RATE:], whole[-SAMPLE_RATE:])) <= 1


def test_a_file_of_which_nothing_can_be_decoded_is_refused(encode):
    data = bytearray(encode(sweep(16000), container="flac", codec="flac", rate=16000))
    data[200:] = np.random.default_rng(0).bytes(len(data) - 200)
    error = refusal(bytes(data))
    assert error.fault is Fault.UNREADABLE_AUDIO


# What is not audio

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(13) + np.random.default_rng(1).bytes(60_000)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + np.random.default_rng(2).bytes(60_000) + b"\xff\xd9"
NOT_AUDIO = {
    "one byte": b"x",
    "text": b"Dear Sir or Madam, " * 2000,
    "UTF-16 text": ("\ufeff" + "Sehr geehrte Damen und Herren! " * 900).encode("utf-16-le"),
    "HTML": b"<!doctype html><html><body>" + b"<p>404 not found</p>" * 900,
    "JSON": b'{"error": {"message": "no"}}',
    "PDF": b"%PDF-1.7\n" + np.random.default_rng(3).bytes(60_000),
    "ZIP": b"PK\x03\x04" + np.random.default_rng(4).bytes(60_000),
    "ELF": b"\x7fELF" + np.random.default_rng(5).bytes(60_000),
    "PNG": PNG,
    "JPEG": JPEG,
    "GIF": b"GIF89a" + np.random.default_rng(6).bytes(20_000),
    "AVI": b"RIFF\x00\x10\x00\x00AVI LIST" + bytes(4000),
    "zeros": bytes(100_000),
    "0xff": b"\xff" * 100_000,
    "a WAV header and no more": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "an Ogg page and no more": b"OggS" + bytes(40),
    "a Matroska magic and noise": b"\x1a\x45\xdf\xa3" + np.random.default_rng(8).bytes(50_000),
    "an MP4 box and noise": b"\x00\x00\x00\x18ftypmp42" + np.random.default_rng(9).bytes(50_000),
    "a FLAC magic and noise": b"fLaC" + np.random.default_rng(10).bytes(50_000),
    "an MPEG pack and noise": b"\x00\x00\x01\xba" + np.random.default_rng(11).bytes(50_000),
    "an ID3 tag and text": _id3(bytes(100)) + b"and then there was nothing " * 100,
    "an ID3 tag that claims 256 MB": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(1000),
    "MIDI": b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x00\x60MTrk" + bytes(500),
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 50,
}


@pytest.mark.parametrize("kind", NOT_AUDIO)
def test_what_is_not_audio_is_refused_and_never_turned_into_noise(kind, capfd):
    error = refusal(NOT_AUDIO[kind])
    assert error.fault is Fault.UNREADABLE_AUDIO
    assert SUPPORTED in error.message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_are_not_audio(seed):
    data = np.random.default_rng(seed).bytes(3000 * (seed + 1))
    assert refusal(data).fault is Fault.UNREADABLE_AUDIO


def test_a_video_without_sound_is_told_so(encode):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            output.mux(picture.encode(image))
        output.mux(picture.encode(None))
    assert "no audio track" in refusal(file.getvalue()).message


@pytest.mark.parametrize("seed", range(30))
def test_no_damage_makes_anything_but_samples_or_a_refusal(encode, seed, capfd):
    random = np.random.default_rng(seed)
    container, codec, rate = [
        ("wav", "pcm_s16le", 16000),
        ("mp3", "libmp3lame", 16000),
        ("flac", "flac", 16000),
        ("ogg", "libopus", 48000),
        ("mp4", "aac", 16000),
        ("webm", "libopus", 48000),
    ][seed % 6]
    data = bytearray(encode(sweep(rate, 0.5), container=container, codec=codec, rate=rate))
    for at in random.integers(0, len(data), 40):
        data[at] = random.integers(0, 256)
    for at in random.integers(0, min(len(data), 300), 5):  # headers, above all
        data[at] = random.integers(0, 256)
    result = outcome(bytes(data), DecodeLimits(max_seconds=30, timeout_seconds=5))
    if isinstance(result, Fault):
        assert result in {Fault.UNREADABLE_AUDIO, Fault.AUDIO_TOO_SHORT, Fault.AUDIO_TOO_LONG}
    else:
        assert np.isfinite(result).all()
        assert np.abs(result).max() <= 1
    assert capfd.readouterr() == ("", "")


def test_an_upload_that_cannot_be_read_is_refused_too(encode):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(ServiceError):
        decode(Broken(wav(b"\x00\x01" * 1_000_000)), LIMITS)


# What wants more than its own bytes (test_untrusted_media.py has it through the whole decoder)


@pytest.mark.parametrize("kind", DEMUXERS)
@pytest.mark.parametrize("known_by_its_signature", [False, True])
def test_an_upload_reaches_no_other_file_and_no_network(
    kind, known_by_its_signature, listener, canary, monkeypatch
):
    port = listener.getsockname()[1]
    data = elsewhere(port, canary.path)[kind]
    if known_by_its_signature:  # even if somebody lets these containers in one day
        monkeypatch.setattr(decode_module, "sniff", lambda upload: DEMUXERS[kind])
    with pytest.raises(ServiceError) as caught:
        decode(Upload(data), DecodeLimits(max_seconds=60, timeout_seconds=5))
    assert caught.value.fault is Fault.UNREADABLE_AUDIO  # and not TIMED_OUT
    assert not canary.touched
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_uploads_are_decoded_beside_one_another(encode):
    data = encode(sweep(48000, 5), container="webm", codec="libopus", rate=48000)
    expected = read(data)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(read, [data] * 4))
    assert len(results) == 4
    assert all(np.array_equal(result, expected) for result in results)


def test_more_than_a_minute_is_put_together_in_order(encode):
    signal = np.linspace(-1, 1, 150 * SAMPLE_RATE)
    data = encode(signal, container="wav", codec="pcm_f32le", rate=SAMPLE_RATE)
    assert np.array_equal(read(data), signal.astype(np.float32))
