"""The arithmetic of the soak script, and what it holds for a wrong answer."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE

sys.path.append(str(Path(__file__).parents[3] / "scripts"))

from reliability.figures import course, spread
from reliability.media import FORMATS, damaged, encode, load_clips
from reliability.requests import TRANSCRIBE, Client, WrongAnswerError

DELTA = {"type": "transcript.text.delta", "delta": "Hello"}
DONE = {"type": "transcript.text.done", "text": "Hello"}


def test_a_spread_is_of_all_values() -> None:
    assert spread([]) == {"count": 0}
    assert spread([float(n) for n in range(1, 102)]) == {
        "count": 101, "p50": 51.0, "p90": 91.0, "p99": 100.0, "max": 101.0,
    }  # fmt: skip


def test_what_grows_by_a_mib_a_minute_grows_by_sixty_an_hour_in_spite_of_peaks() -> None:
    minutes = [float(n) for n in range(20)]
    values = [900.0 if n < 3 else 500.0 if n == 11 else 100.0 + n for n in range(20)]
    grown = course(minutes, values, settled=3)
    assert (grown["first"], grown["last"], grown["max"]) == (103, 119, 900)
    assert grown["slope_an_hour"] == pytest.approx(60, abs=1)


def test_every_format_holds_the_speech() -> None:
    clip = load_clips()[0]
    limits = DecodeLimits(max_seconds=60, timeout_seconds=60)
    for name in FORMATS:
        samples = decode(io.BytesIO(encode(clip.samples, name)), limits)
        assert len(samples) / SAMPLE_RATE == pytest.approx(clip.seconds, abs=0.15), name
        assert np.abs(samples).max() > 0.1, name


def test_damage_is_the_same_for_the_same_seed() -> None:
    data = bytes(range(256)) * 4
    assert damaged(data, random.Random(1)) == damaged(data, random.Random(1)) != data


def client_for(body: str, status: int = 200) -> Client:
    client = Client("http://test", None)
    client._http = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(status, text=body)),
        base_url="http://test",
    )
    return client


def events(*payloads: object) -> str:
    return "".join(f"data: {json.dumps(each)}\n\n" for each in payloads) + "data: [DONE]\n\n"


async def test_a_stream_whose_deltas_are_not_the_text_is_wrong() -> None:
    stream = {"stream": "true"}
    good = await client_for(events(DELTA, DONE)).post(TRANSCRIBE, b"", stream)
    assert (good.text, good.code) == ("Hello", None)
    with pytest.raises(WrongAnswerError, match="Hello"):
        await client_for(events(DELTA, DELTA, DONE)).post(TRANSCRIBE, b"", stream)
    with pytest.raises(WrongAnswerError):
        await client_for(events(DELTA)).post(TRANSCRIBE, b"", stream)


async def test_an_error_in_mid_stream_is_seen() -> None:
    failed = {"error": {"code": "engine_dead", "message": "It stopped."}}
    outcome = await client_for(events(DELTA, failed)).post(TRANSCRIBE, b"", {"stream": "true"})
    assert outcome.code == "engine_dead"


async def test_an_error_without_openais_shape_is_wrong() -> None:
    with pytest.raises(WrongAnswerError, match="Internal"):
        await client_for("Internal Server Error", 500).post(TRANSCRIBE, b"", {})
