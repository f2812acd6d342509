"""What is said stands where the container's clock has it, as long as that can be believed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.audio.packet_times import PacketTimes
from whisper_service.audio.timeline import (
    LONGEST_GAP_SECONDS,
    MOST_SILENCE_SECONDS,
    Timeline,
)
from whisper_service.domain import SAMPLE_RATE, Samples

from .containers_made import Picture, Sound, made

LIMITS = DecodeLimits(max_seconds=7200, timeout_seconds=20)
RATE = 48_000
SECONDS = 6.0
PIPS = tuple(np.arange(0.25, SECONDS, 0.5))  # seconds at which one begins

# One of each demuxer at every check, its codecs and its kin in the gate.
CLOCKED = [
    ("mp4", "aac"),
    ("matroska", "libopus"),
    ("mpeg", "mp2"),
    *(
        pytest.param(container, codec, marks=pytest.mark.slow)
        for container, codec in (
            ("mp4", "libopus"),
            ("mov", "aac"),
            ("matroska", "aac"),
            ("matroska", "pcm_s16le"),
            ("webm", "libopus"),
        )
    ),
]
WITH_GAPS = [*CLOCKED, ("ogg", "libopus"), pytest.param("ogg", "flac", marks=pytest.mark.slow)]


def pips() -> np.ndarray:
    """A click of 20 ms of 1 kHz every half second: where it is found, is its time."""
    signal = np.zeros(round(SECONDS * RATE))
    click = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE // 50) / RATE)
    for pip in PIPS:
        signal[round(pip * RATE) :][: len(click)] = click
    return signal


def heard(samples: Samples) -> list[float]:
    """When the pips begin, in seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    starts = loud[np.r_[True, np.diff(loud) > SAMPLE_RATE // 5]]
    return [start / SAMPLE_RATE for start in starts]


def read(data: bytes, limits: DecodeLimits = LIMITS) -> Samples:
    return decode(io.BytesIO(data), limits)


def recording(container: str, codec: str, **times: object) -> Sound:
    return Sound(pips(), codec, **times)


def burst(first: float, last: float) -> Callable[[float], float | None]:
    return lambda time: None if first <= time < last else time


def paused(at: float, seconds: float) -> Callable[[float], float | None]:
    return lambda time: time if time < at else time + seconds


def expected(time: Callable[[float], float | None]) -> list[float]:
    return [moved for pip in PIPS if (moved := time(pip)) is not None]


# Audio that begins later than its container


@pytest.mark.parametrize("offset", [4.0, 61.5])
@pytest.mark.parametrize(("container", "codec"), CLOCKED)
def test_a_video_whose_sound_starts_late_has_its_times(container, codec, offset):
    sound = recording(container, codec, at=offset)
    found = heard(read(made(container, [Picture(SECONDS), sound])))
    assert found == pytest.approx([pip + offset for pip in PIPS], abs=0.03)


@pytest.mark.parametrize("start", [1.4, 5 * 3600.0])
@pytest.mark.parametrize(("container", "codec"), CLOCKED)
def test_a_clock_that_is_not_0_when_all_begins_moves_nothing(container, codec, start):
    tracks = [Picture(SECONDS, at=start), recording(container, codec, at=start)]
    assert heard(read(made(container, tracks))) == pytest.approx(PIPS, abs=0.03)


@pytest.mark.parametrize("start", [4.0])
@pytest.mark.parametrize(("container", "codec"), CLOCKED)
def test_audio_that_is_alone_begins_with_its_file(container, codec, start):
    found = heard(read(made(container, [recording(container, codec, at=start)])))
    assert found == pytest.approx(PIPS, abs=0.03)


@pytest.mark.parametrize(("container", "codec"), CLOCKED)
def test_pictures_that_begin_after_the_sound_do_not_move_it(container, codec):
    found = heard(read(made(container, [Picture(3, at=2.0), recording(container, codec)])))
    assert found == pytest.approx(PIPS, abs=0.03)


# Gaps


@pytest.mark.parametrize(("container", "codec"), WITH_GAPS)
def test_a_burst_of_lost_packets_keeps_its_length(container, codec):
    lost = burst(2.1, 4.1)
    samples = read(made(container, [recording(container, codec, time=lost)]))
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.05)
    assert heard(samples) == pytest.approx(expected(lost), abs=0.03)


@pytest.mark.parametrize("pause", [1.5, 10.0])
@pytest.mark.parametrize(("container", "codec"), WITH_GAPS)
def test_a_recorder_that_was_paused_keeps_its_clock(container, codec, pause):
    later = paused(3.0, pause)
    samples = read(made(container, [recording(container, codec, time=later)]))
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS + pause, abs=0.05)
    assert heard(samples) == pytest.approx(expected(later), abs=0.03)


@pytest.mark.parametrize(("container", "codec"), WITH_GAPS)
def test_one_packet_in_ten_may_be_lost(container, codec):
    random = np.random.default_rng(7)
    lost = lambda time: None if 0.5 < time < 5 and random.random() < 0.1 else time  # noqa: E731
    samples = read(made(container, [recording(container, codec, time=lost)]))
    page = 0.15 if container == "ogg" else 0.05  # a tenth of a page, which has one time
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=page)
    assert heard(samples)[-1] == pytest.approx(PIPS[-1], abs=page)


@pytest.mark.parametrize("container", ["webm", "matroska", "mp4", "ogg"])
def test_discontinuous_transmission_keeps_the_time(container):
    """In silence, one packet every 400 ms."""
    sent = lambda time: None if 1.5 < time < 4.1 and round(time * 1000) // 20 % 20 else time  # noqa: E731
    samples = read(made(container, [recording(container, "libopus", time=sent)]))
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.05)
    assert heard(samples)[-1] == pytest.approx(PIPS[-1], abs=0.03)


def test_a_pause_is_silence_to_the_sample():
    data = made("matroska", [recording("matroska", "pcm_s16le", time=paused(3.0, 2.0))])
    samples = read(data)
    assert not samples[3 * SAMPLE_RATE : 5 * SAMPLE_RATE].any()
    assert len(samples) == 8 * SAMPLE_RATE


@pytest.mark.parametrize(("container", "codec"), [*CLOCKED, ("ogg", "libopus")])
def test_stamps_that_tremble_neither_insert_nor_drop_anything(container, codec):
    random = np.random.default_rng(1)
    trembling = lambda time: time + random.uniform(0, 0.02)  # noqa: E731
    steady = read(made(container, [recording(container, codec)]))
    samples = read(made(container, [recording(container, codec, time=trembling)]))
    assert len(samples) == pytest.approx(len(steady), abs=400)
    assert heard(samples) == pytest.approx(PIPS, abs=0.04)


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac")])
def test_formats_without_a_clock_count_samples(container, codec):
    data = made(container, [recording(container, codec, time=paused(3.0, 10.0))])
    assert len(read(data)) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.1)


# Bounds


def test_a_gap_of_hours_is_a_wrong_clock():
    ten_hours = paused(3.0, 36_000.0)
    samples = read(made("matroska", [recording("matroska", "libopus", time=ten_hours)]))
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.05)


def test_silence_never_makes_a_recording_too_long():
    data = made("matroska", [recording("matroska", "libopus", time=paused(3.0, 100.0))])
    samples = read(data, DecodeLimits(max_seconds=60, timeout_seconds=20))
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.05)


def test_gaps_have_a_bound_each_and_in_sum():
    timeline = Timeline(None)
    assert timeline.silence_before(0.0, 1.0) == 0
    assert timeline.silence_before(1.0 + LONGEST_GAP_SECONDS, 1.0) == LONGEST_GAP_SECONDS
    assert timeline.silence_before(3.0 + 2.1 * LONGEST_GAP_SECONDS, 1.0) == 0
    filled = sum(timeline.silence_before(10_000 + 600.0 * n, 1.0) for n in range(100))
    assert LONGEST_GAP_SECONDS + filled <= MOST_SILENCE_SECONDS


# Wrong clocks


# Its size, a checksum, and the element of its time.
_CLUSTER = re.compile(rb"\x1f\x43\xb6\x75(?:[\x80-\xff]|[\x40-\x7f].)\xbf\x84.{4}\xe7", re.DOTALL)


def with_cluster_times(data: bytes, change: Callable[[int, int], int]) -> bytes:
    """A Matroska file, the times of its clusters (a second each) changed: by number and time."""
    written = bytearray(data)
    numbers = iter(range(1000))
    for cluster in _CLUSTER.finditer(data):
        length = data[cluster.end()] & 0x7F
        place = slice(cluster.end() + 1, cluster.end() + 1 + length)
        time = change(next(numbers), int.from_bytes(data[place]))
        written[place] = (time % 256**length).to_bytes(length)
    assert next(numbers) > 4, "no clusters found"
    return bytes(written)


WRONG = {
    "one is far ahead": lambda number, time: 60_000 if number == 2 else time,
    "one is 0": lambda number, time: 0 if number == 3 else time,
    "the last ones start again": lambda number, time: time % 3000,
    "all are one": lambda number, time: 300,
    "backwards": lambda number, time: 6000 - time if number else 6000,
    "nonsense": lambda number, time: (number * 7919 * 7) % 60_000,
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_clock_that_is_wrong_is_not_believed(kind):
    sound = recording("matroska", "libopus")
    data = made("matroska", [sound], options={"cluster_time_limit": "1000"})
    samples = read(with_cluster_times(data, WRONG[kind]))
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.1)
    assert heard(samples) == pytest.approx(PIPS, abs=0.1)


def test_a_track_whose_clock_is_wrong_by_hours_begins_with_its_file():
    tracks = [Picture(3), recording("matroska", "libopus", at=90_000.0)]
    assert heard(read(made("matroska", tracks))) == pytest.approx(PIPS, abs=0.03)


@dataclass
class Packet:
    pts: int | None  # milliseconds
    duration: int = 20
    size: int = 100


def believed(*times: int | None) -> list[int | None]:
    return [packet.pts for packet in PacketTimes([Packet(time) for time in times], 0.001)]


def test_a_time_that_what_follows_contradicts_is_taken_away():
    assert believed(0, 20, 90_000, 60, 80) == [0, 20, None, 60, 80]
    assert believed(0, 20, 90_000, 90_020, 80, 100) == [0, 20, None, None, 80, 100]
    assert believed(5000, 5020, 0, 5060) == [5000, 5020, None, 5060]
    assert believed(90_000, 20, 40) == [None, 20, 40]


def test_a_gap_and_a_restart_are_believed():
    gap = [0, 20, 5000, 5020, 9000, 9020]
    assert believed(*gap) == gap
    restart = [5000, 5020, 5040, 0, 20, 40]
    assert believed(*restart) == restart


def test_packets_without_a_time_count_and_stay_without():
    assert believed(None, None, 40, None, 80) == [None, None, 40, None, 80]
    assert believed(*[None] * 4) == [None] * 4


def test_a_clock_that_goes_back_again_and_again_is_not_believed_at_all():
    assert set(believed(*[(n * 7919) % 10_000 for n in range(100)])) <= {0, None}


def test_no_packet_is_lost_or_moved():
    packets = [Packet((n * 7919) % 10_000) for n in range(5000)]
    assert list(PacketTimes(packets, 0.001)) == packets


def test_frames_without_a_time_follow_the_last():
    timeline = Timeline(0.0)
    assert timeline.silence_before(None, 0.5) == 0
    assert timeline.silence_before(4.5, 0.5) == pytest.approx(4.0)
    assert timeline.silence_before(None, 0.5) == 0
    assert timeline.silence_before(7.5, 0.5) == pytest.approx(2.0)


@pytest.mark.parametrize("start", [-0.1, -100.0])
def test_what_codecs_add_in_front_is_not_an_offset(start):
    timeline = Timeline(start)
    assert timeline.silence_before(0.0, 0.5) == 0
