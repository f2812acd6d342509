"""Files as people have them, through the running service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import srt

from tests.conftest import Clip
from tests.integration.conftest import Server
from tests.unit.audio.containers_made import Captions, Picture, Sound, made
from whisper_service.audio.decode import DecodeLimits, decode

RATE = 48_000


def speech_of(path: Path) -> np.ndarray[Any, Any]:
    """float[n], 48 kHz."""
    with path.open("rb") as file:
        samples = decode(file, DecodeLimits(max_seconds=60, timeout_seconds=20))
    at = np.arange(3 * len(samples)) / 3
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float64)


def post(server: Server, audio: bytes, **fields: Any) -> httpx.Response:
    response = httpx.post(
        f"{server.url}/api/v1/audio/transcriptions",
        data={"model": "whisper-1", "language": "en", **fields},
        files={"file": ("recording", audio)},
        timeout=300,
    )
    assert response.status_code == 200, response.text
    return response


def segments(server: Server, audio: bytes) -> list[dict[str, Any]]:
    body = post(server, audio, response_format="verbose_json").json()
    return list(body["segments"])


@pytest.fixture(scope="module")
def counting(clips: dict[str, Clip]) -> np.ndarray[Any, Any]:
    return speech_of(clips["en/counting"].path)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", text.lower())


@pytest.mark.parametrize(
    ("container", "codec", "captions"),
    [("mp4", "aac", "mov_text"), ("matroska", "libopus", "subrip"), ("webm", "libopus", "webvtt")],
)
def test_a_video_with_subtitles_whose_sound_starts_late_has_its_times(
    server, counting, container, codec, captions
):
    plain = segments(server, made("matroska", [Sound(counting, codec)]))
    tracks = [Captions(captions), Picture(8), Sound(counting, codec, at=4.0)]
    late = segments(server, made(container, tracks))
    assert words(late[0]["text"]) == words(plain[0]["text"])
    assert late[0]["start"] == pytest.approx(plain[0]["start"] + 4, abs=0.2)
    assert late[-1]["end"] == pytest.approx(plain[-1]["end"] + 4, abs=0.2)


def test_a_paused_recorder_keeps_its_clock(server, counting):
    twice = np.concatenate([counting, counting])
    half = len(counting) / RATE
    paused = lambda time: time if time < half else time + 10  # noqa: E731
    audio = made("webm", [Sound(twice, "libopus", time=paused)])
    body = post(server, audio, response_format="verbose_json").json()
    assert body["duration"] == pytest.approx(2 * half + 10, abs=0.1)
    assert body["segments"][-1]["start"] == pytest.approx(half + 10, abs=0.7)


def test_all_links_of_a_chain_are_heard_and_a_broken_one_is_told(server, counting, clips):
    fox = speech_of(clips["en/quick_brown_fox"].path)
    first = made("ogg", [Sound(counting, "libopus")])
    second = made("ogg", [Sound(fox, "libopus", layout="stereo")])
    whole = post(server, first + second)
    assert "x-audio-broken-at" not in whole.headers
    alone = words(post(server, first).json()["text"])
    assert {"fox", "dog"} <= set(words(whole.json()["text"]))

    broken = first + second[:60] + np.random.default_rng(0).bytes(20_000)
    for stream in ({}, {"stream": "true"}):
        response = post(server, broken, **stream)
        seconds = float(response.headers["x-audio-broken-at"])
        assert seconds == pytest.approx(len(counting) / RATE, abs=0.1)
    assert words(post(server, broken).json()["text"]) == alone


def test_stereo_that_cancels_and_a_silent_first_track_are_heard(server, counting):
    expected = words(post(server, made("matroska", [Sound(counting, "flac")])).json()["text"])
    cancelling = Sound(np.stack([counting, -counting]), "flac", layout="stereo")
    assert words(post(server, made("matroska", [cancelling])).json()["text"]) == expected
    silent = Sound(np.zeros_like(counting), "flac")
    audio = made("matroska", [silent, Sound(counting, "flac")])
    assert words(post(server, audio).json()["text"]) == expected


@pytest.mark.parametrize("words", ["false", "true"])
def test_narrow_captions_end_with_the_file(server, counting, words):
    fields = {"max_line_width": "8", "max_line_count": "1", "word_timestamps": words}
    audio = made("matroska", [Sound(counting, "flac")])
    cues = list(srt.parse(post(server, audio, response_format="srt", **fields).text))
    assert len(cues) > 2
    assert cues[-1].end.total_seconds() <= len(counting) / RATE + 0.001
