"""Words' times through the real engine, on its own weights."""

from __future__ import annotations

import io
import json
import re
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import srt
import webvtt
from openai import OpenAI

from tests.conftest import Clip
from tests.integration.conftest import Server
from whisper_service.audio.decode import DecodeLimits, decode

BOTH = {
    "response_format": "verbose_json",
    "timestamp_granularities[]": ["word", "segment"],
    "language": "en",
}
# The words of en/quick_brown_fox, by faster-whisper with the same weights (float32).
SPOKEN = [
    ("The", 0.00, 0.10), ("quick", 0.10, 0.28), ("brown", 0.28, 0.58), ("fox", 0.58, 0.94),
    ("jumps", 0.94, 1.40), ("over", 1.40, 1.68), ("the", 1.68, 1.82), ("lazy", 1.82, 2.06),
    ("dog.", 2.06, 2.36),
]  # fmt: skip
COUNTING_ENDS = 2.48  # in en/counting, by the same


def post(server: Server, audio: bytes | Path, **fields: Any) -> httpx.Response:
    data = audio.read_bytes() if isinstance(audio, Path) else audio
    return httpx.post(
        f"{server.url}/api/v1/audio/transcriptions",
        data={"model": "whisper-1", **fields},
        files={"file": ("speech.wav", data)},
        timeout=300,
    )


def words_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [word for segment in body["segments"] for word in segment["words"]]


def check(body: dict[str, Any]) -> None:
    """What is promised of every answer with words."""
    last = 0.0
    for segment in body["segments"]:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
        for word in segment["words"]:
            assert segment["start"] <= word["start"] < word["end"] <= segment["end"]
            assert word["start"] >= last
            assert 0 <= word["probability"] <= 1
            last = word["end"]
    assert body["words"] == [
        {"word": word["word"].strip(), "start": word["start"], "end": word["end"]}
        for word in words_of(body)
    ]


def counter(server: Server, outcome: str) -> float:
    text = httpx.get(f"{server.url}/metrics").text
    pattern = rf'whisper_alignments_total{{outcome="{outcome}"}} (\S+)'
    (found,) = re.findall(pattern, text)
    return float(found)


def recording(*parts: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        target.writeframes((np.concatenate(parts) * 32_767).astype("<i2").tobytes())
    return file.getvalue()


def samples_of(clip: Clip) -> np.ndarray[Any, Any]:
    with clip.path.open("rb") as file:
        return decode(file, DecodeLimits(max_seconds=60, timeout_seconds=60))


def silence(seconds: float) -> np.ndarray[Any, Any]:
    return np.zeros(round(seconds * 16_000), np.float32)


def test_a_clips_words_have_the_times_that_faster_whisper_gives_them(
    server: Server, clips: dict[str, Clip]
) -> None:
    body = post(server, clips["en/quick_brown_fox"].path, **BOTH, vad_filter="false").json()
    check(body)
    assert [word["word"] for word in body["words"]] == [word for word, _, _ in SPOKEN]
    errors = [
        abs(word[side] - expected)
        for word, (_, *times) in zip(body["words"], SPOKEN, strict=True)
        for side, expected in zip(("start", "end"), times, strict=True)
    ]
    assert np.median(errors) <= 0.04
    assert np.quantile(errors, 0.9) <= 0.1


@pytest.mark.parametrize("name", ["ja/kazoeru", "zh/jishu", "fr/comptage", "es/conteo"])
def test_words_are_the_text_in_every_script(
    server: Server, clips: dict[str, Clip], name: str
) -> None:
    fields = BOTH | {"language": clips[name].language}
    body = post(server, clips[name].path, **fields).json()
    check(body)
    assert body["words"]


def test_asking_for_words_changes_neither_text_nor_anybody_elses_answer(
    server: Server, clips: dict[str, Clip]
) -> None:
    path = clips["en/quick_brown_fox"].path
    plain = post(server, path, response_format="verbose_json", language="en").json()
    body = post(server, path, **BOTH).json()
    again = post(server, path, response_format="verbose_json", language="en").json()
    assert plain == again
    assert "words" not in plain
    assert "words" not in plain["segments"][0]
    assert body["text"] == plain["text"]
    assert [s["tokens"] for s in body["segments"]] == [s["tokens"] for s in plain["segments"]]


def test_the_sdk_reads_words(client: OpenAI, clips: dict[str, Clip]) -> None:
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=clips["en/hello_world"].path,
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert answer.words
    assert not answer.segments
    assert all(word.start < word.end for word in answer.words)


def test_words_beyond_a_silence_that_is_cut_out_are_where_they_are_spoken(
    server: Server, clips: dict[str, Clip]
) -> None:
    first, speech = (samples_of(clips[name]) for name in ("en/quick_brown_fox", "en/counting"))
    body = post(server, recording(first, silence(20), speech), **BOTH).json()
    check(body)
    shift = len(first) / 16_000 + 20
    for word in body["words"]:
        assert word["end"] <= len(first) / 16_000 or word["start"] >= shift - 0.1, word
    late = [word for word in body["words"] if word["start"] > shift - 0.1]
    assert len(late) >= 8
    assert abs(late[-1]["end"] - shift - COUNTING_ENDS) < 0.2


@pytest.mark.parametrize("fields", [{"stream": "true"}, {"condition_on_previous_text": "true"}])
def test_streams_and_one_by_one_have_the_same_words(
    server: Server, clips: dict[str, Clip], fields: dict[str, str]
) -> None:
    path = clips["en/counting"].path
    expected = post(server, path, **BOTH).json()
    response = post(server, path, **BOTH, **fields)
    if "stream" not in fields:
        assert response.json()["words"] == expected["words"]
        return
    blocks = [block for block in response.text.split("\n\n") if block.startswith("data: {")]
    *events, done = [json.loads(block.removeprefix("data: ")) for block in blocks]
    spoken = [event for event in events if event["type"] == "transcript.text.segment"]
    assert [event["words"] for event in spoken] == [s["words"] for s in expected["segments"]]
    assert done["words"] == expected["words"]


def test_subtitles_show_each_word_while_it_is_spoken(
    server: Server, clips: dict[str, Clip]
) -> None:
    path = clips["en/quick_brown_fox"].path
    asked = {"language": "en", "word_timestamps": "true"}
    words = post(server, path, **BOTH).json()["words"]

    cues = list(srt.parse(post(server, path, **asked, response_format="srt").text))
    marked = [re.findall("<u>(.*?)</u>", cue.content) for cue in cues]
    assert [found[0] for found in marked if found] == [word["word"] for word in words]
    starts = [cue.start.total_seconds() for cue, found in zip(cues, marked, strict=True) if found]
    assert starts == pytest.approx([word["start"] for word in words], abs=0.002)

    vtt = post(server, path, **asked, response_format="vtt").text
    (caption, *_) = webvtt.from_string(vtt)
    shown = re.sub("<[^>]*>", "", caption.raw_text).split()
    assert shown == [word["word"] for word in words]
    assert "<00:00:01." in caption.raw_text


def test_subtitles_keep_to_the_lines_and_times_that_are_asked_for(
    server: Server, clips: dict[str, Clip]
) -> None:
    fields = {"language": "en", "response_format": "srt", "max_line_width": 12}
    text = post(server, clips["en/quick_brown_fox"].path, **fields, max_line_count=1).text
    cues = list(srt.parse(text))
    assert len(cues) > 2
    assert all(len(cue.content) <= 12 and "\n" not in cue.content for cue in cues)
    short = post(
        server, clips["en/counting"].path, language="en", response_format="srt", max_cue_seconds=1
    ).text
    for cue in srt.parse(short):
        assert (cue.end - cue.start).total_seconds() <= 1.001


def test_a_window_full_of_speech_is_aligned(server: Server, clips: dict[str, Clip]) -> None:
    """Ten numbers, over and over, as fast as they are spoken, in one window."""
    speech = samples_of(clips["en/counting"])
    dense = np.concatenate([speech] * 12)[: 29 * 16_000]
    estimated = counter(server, "estimated")
    body = post(server, recording(dense), **BOTH, temperature="0.01").json()
    check(body)
    assert len(body["words"]) > 30
    assert counter(server, "estimated") == estimated


def test_silence_has_no_words(server: Server) -> None:
    body = post(server, recording(silence(2)), **BOTH).json()
    assert (body["text"], body["words"], body["segments"]) == ("", [], [])


def test_forty_files_at_once_each_have_the_words_that_they_have_alone(
    server: Server, clips: dict[str, Clip]
) -> None:
    english = [name for name in clips if name.startswith("en/")]
    names = [english[i % len(english)] for i in range(40)]
    alone = {name: post(server, clips[name].path, **BOTH).json() for name in english}
    before = counter(server, "estimated")
    with ThreadPoolExecutor(40) as pool:
        together = list(
            pool.map(
                lambda i: post(server, clips[names[i % len(names)]].path, **BOTH).json(), range(40)
            )
        )
    for index, body in enumerate(together):
        check(body)
        expected = alone[names[index % len(names)]]
        if body["text"] == expected["text"]:
            for word, one in zip(body["words"], expected["words"], strict=True):
                assert word["start"] == pytest.approx(one["start"], abs=0.1)
    same = sum(
        body["text"] == alone[names[i % len(names)]]["text"] for i, body in enumerate(together)
    )
    assert same >= 36
    assert counter(server, "estimated") == before
    assert counter(server, "aligned") >= 40
