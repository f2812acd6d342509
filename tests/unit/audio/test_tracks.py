"""A file has tracks of every kind: the audio is found among them, and the track that speaks."""

from __future__ import annotations

import io

import numpy as np
import pytest

from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples

from .containers_made import Attachment, Captions, Picture, Sound, made

LIMITS = DecodeLimits(max_seconds=600, timeout_seconds=20)
RATE = 48_000
SILENCE = np.zeros(3 * RATE)


def tone(hertz: float, seconds: float = 3.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def pitch(samples: Samples) -> float:
    """The loudest frequency, in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


# Streams that are no audio


KINDS = {
    "srt": ("matroska", "libopus", Captions("subrip")),
    "ass": ("matroska", "aac", Captions("ass")),
    "webvtt in mkv": ("matroska", "libopus", Captions("webvtt")),
    "webvtt in webm": ("webm", "libopus", Captions("webvtt")),
    "mov_text in mp4": ("mp4", "aac", Captions("mov_text")),
    "mov_text in mov": ("mov", "aac", Captions("mov_text")),
    "dvd subtitles in mp4": ("mp4", "aac", Captions("dvdsub")),
    "dvb subtitles": ("matroska", "aac", Captions("dvbsub")),
    "a font": ("matroska", "libopus", Attachment()),
    "a picture as an attachment": ("matroska", "libopus", Attachment("cover.jpg", "image/jpeg")),
}


@pytest.mark.parametrize(
    "order",
    ["first", *(pytest.param(order, marks=pytest.mark.slow) for order in ("last", "between"))],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_track_that_is_no_audio_does_not_matter(isolated_decoder, kind, order):
    container, codec, other = KINDS[kind]
    sound = Sound(tone(440), codec)
    tracks = {
        "last": [sound, other],
        "first": [other, sound],
        "between": [Picture(3), other, sound],
    }[order]
    samples = isolated_decoder.decode(io.BytesIO(made(container, tracks)), LIMITS)
    assert len(samples) == pytest.approx(3 * SAMPLE_RATE, abs=400)
    assert pitch(samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("container", ["mov", "mp4", "matroska"])
def test_chapters_and_a_timecode_do_not_matter(isolated_decoder, container):
    tracks = [Picture(3), Captions("ass" if container == "matroska" else "mov_text")]
    data = made(
        container,
        [*tracks, Sound(tone(440), "aac")],
        chapters=3,
        metadata={"timecode": "10:00:00:00", "title": "Caf\xe9"},
        options={"write_tmcd": "1"} if container != "matroska" else None,
    )
    samples = isolated_decoder.decode(io.BytesIO(data), LIMITS)
    assert pitch(samples) == pytest.approx(440, abs=1)


# Several audio tracks


@pytest.mark.parametrize("container", ["matroska", "mp4", "ogg"])
@pytest.mark.parametrize("video", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_first_track_that_is_silent_makes_room_for_one_that_speaks(
    isolated_decoder, container, video, caplog
):
    caplog.set_level("INFO", "whisper_service")
    codec = "libopus" if container in ("webm", "ogg") else "aac"
    pictures = [Picture(3)] if video and container != "ogg" else []
    tracks = [*pictures, Sound(SILENCE, codec), Sound(tone(700), codec), Sound(tone(900), codec)]
    samples = isolated_decoder.decode(io.BytesIO(made(container, tracks)), LIMITS)
    assert pitch(samples) == pytest.approx(700, abs=1)
    assert f"3 audio tracks, stream {len(pictures) + 1} was taken" in caplog.text


def taken(*tracks: Sound) -> float:
    return pitch(decode(io.BytesIO(made("matroska", tracks)), LIMITS))


def sound(hertz: float, *, level: float = 0.5, default: bool | None = None) -> Sound:
    return Sound(tone(hertz, level=level), "flac", default=default)


def test_the_first_track_is_taken_where_all_speak():
    assert taken(sound(500), sound(700)) == pytest.approx(500, abs=1)


def test_one_that_is_marked_as_the_default_is_taken_where_it_has_sound():
    assert taken(sound(500), sound(700, default=True)) == pytest.approx(700, abs=1)
    silent = Sound(SILENCE, "flac", default=True)
    assert taken(sound(500), silent, sound(700)) == pytest.approx(500, abs=1)


def test_quiet_speech_is_sound_and_the_noise_of_a_muted_microphone_is_not():
    assert taken(sound(500, level=0.002), sound(700, level=0.02)) == pytest.approx(500, abs=1)
    assert taken(sound(500, level=0.0003), sound(700, level=0.01)) == pytest.approx(700, abs=1)


def test_a_click_is_no_sound():
    click = SILENCE.copy()
    click[1000:1100] = 0.9
    assert taken(Sound(click, "flac"), sound(700)) == pytest.approx(700, abs=1)


def test_a_track_that_speaks_late_is_not_silent():
    late = np.concatenate([SILENCE, tone(500)])
    early = np.concatenate([tone(700), SILENCE])
    assert taken(Sound(late, "flac"), Sound(early, "flac")) == pytest.approx(500, abs=1)


def test_where_all_are_silent_the_first_is_taken():
    samples = decode(
        io.BytesIO(made("matroska", [Sound(SILENCE, "flac"), Sound(SILENCE[:RATE], "flac")])),
        LIMITS,
    )
    assert len(samples) == 3 * SAMPLE_RATE


def test_a_track_with_a_codec_that_is_not_supported_makes_room_for_one_that_is():
    tracks = [Sound(tone(500), "wavpack"), Sound(tone(700), "flac")]
    samples = decode(io.BytesIO(made("matroska", tracks)), LIMITS)
    assert pitch(samples) == pytest.approx(700, abs=1)
