"""`stream=true`: the text while it is made, as OpenAI's events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from starlette.requests import ClientDisconnect, Request

from whisper_service.api import event_stream
from whisper_service.domain import SpokenSegment, Task, Transcript, Word
from whisper_service.errors import Fault, ServiceError
from whisper_service.formats.events import EventWriter, TranscriptTextDelta
from whisper_service.formats.response_format import ResponseFormat

from .conftest import SEGMENT, Double, Post

STREAM = {"stream": "true"}


def payloads(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    lines = [block.removeprefix("data: ") for block in blocks if not block.startswith(":")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def types(events: list[Any]) -> list[str]:
    return [event if isinstance(event, str) else event.get("type", "error") for event in events]


async def test_deltas_then_the_whole_text_then_the_end(post: Post, transcriber: Double) -> None:
    transcriber.segments = [SEGMENT, replace(SEGMENT, id=1, text=" Good bye. ")]
    response = await post(STREAM)
    first, second, done, end = payloads(response)
    assert first == {"type": "transcript.text.delta", "delta": "Hello, world."}
    assert second == {"type": "transcript.text.delta", "delta": " Good bye."}
    assert done == {
        "type": "transcript.text.done",
        "text": "Hello, world. Good bye.",
        "usage": {
            "type": "tokens",
            "input_tokens": 170,
            "output_tokens": 6,
            "total_tokens": 176,
            "input_token_details": {"audio_tokens": 166, "text_tokens": 4},
        },
    }
    assert end == "[DONE]"
    assert response.headers["cache-control"] == "no-cache"
    assert "content-length" not in response.headers


async def test_no_speech_is_an_empty_text(post: Post, transcriber: Double) -> None:
    transcriber.segments = []
    done, end = payloads(await post(STREAM))
    assert (done["text"], end) == ("", "[DONE]")


async def test_verbose_json_adds_whole_segments(post: Post) -> None:
    events = payloads(await post(STREAM | {"response_format": "verbose_json"}))
    assert types(events) == [
        "transcript.text.delta", "transcript.text.segment", "transcript.text.done", "[DONE]"
    ]  # fmt: skip
    assert events[1] | {"start": 0.0, "end": 3.32, "text": " Hello, world.", "seek": 0} == events[1]
    assert (events[2]["language"], events[2]["duration"]) == ("german", 3.32)


async def test_logprobs_come_with_each_delta_and_all_at_the_end(post: Post) -> None:
    delta, done, _ = payloads(await post(STREAM | {"include[]": "logprobs"}))
    expected = [{"token": " Hello", "logprob": -0.25, "bytes": [32, 72, 101, 108, 108, 111]}]
    assert delta["logprobs"] == done["logprobs"] == expected


async def test_a_wrong_upload_is_an_ordinary_error(
    post: Post, transcriber: Double, error_of: Any
) -> None:
    transcriber.readable = False
    transcriber.failure = ServiceError(Fault.UNREADABLE_AUDIO, "It is no audio.", "file")
    response = await post(STREAM)
    assert response.status_code == 400
    assert error_of(response)["code"] == "unreadable_audio"
    assert transcriber.admission.accepted == 0


async def test_a_failure_in_mid_stream_is_an_error_payload(post: Post, transcriber: Double) -> None:
    transcriber.failure = ServiceError(Fault.ENGINE_DEAD, "The speech engine has stopped.")
    events = payloads(await post(STREAM))
    assert types(events) == ["transcript.text.delta", "error"]
    assert events[-1]["error"] == {
        "message": "The speech engine has stopped.",
        "type": "server_error",
        "param": None,
        "code": "engine_dead",
    }


async def test_a_bug_in_mid_stream_tells_nothing_of_itself(
    post: Post, transcriber: Double, caplog: pytest.LogCaptureFixture
) -> None:
    transcriber.failure = RuntimeError("secret")
    response = await post(STREAM)
    assert payloads(response)[-1]["error"]["code"] == "internal_error"
    assert "secret" not in response.text
    assert "secret" in caplog.text


async def test_the_sdk_reads_it_and_raises_at_an_error(
    sdk: AsyncOpenAI, transcriber: Double
) -> None:
    transcriber.failure = ServiceError(Fault.TIMED_OUT, "It took too long.")
    stream = await sdk.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", b"RIFF"), stream=True
    )
    events = aiter(stream)
    assert (await anext(events)).type == "transcript.text.delta"
    with pytest.raises(openai.APIError, match="It took too long"):
        await anext(events)


async def test_text_is_sent_before_the_work_has_ended(
    sdk: AsyncOpenAI, transcriber: Double
) -> None:
    queue: list[bytes] = []
    begun = asyncio.Event()

    async def work(listener: Any) -> Transcript:
        listener.began(1.0)
        listener.heard(SpokenSegment(SEGMENT, ()))
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        queue.append(message.get("body", b""))
        if b"Hello" in queue[-1]:
            begun.set()

    answer = await event_stream.EventStream.begin(
        fake_request(), work, EventWriter(ResponseFormat.JSON, logprobs=False)
    )
    sending = asyncio.create_task(answer({}, never, send))
    await asyncio.wait_for(begun.wait(), 5)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_client_that_hangs_up_ends_the_stream_without_a_word() -> None:
    async def work(listener: Any) -> Transcript:
        listener.began(1.0)
        raise ClientDisconnect

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    request = fake_request()
    answer = await event_stream.EventStream.begin(
        request, work, EventWriter(ResponseFormat.JSON, logprobs=False)
    )
    await answer({}, never, send)
    assert b"".join(sent) == b""
    assert request.state.outcome == "disconnected"


async def test_a_silent_stream_is_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.01)

    async def work(listener: Any) -> Transcript:
        listener.began(1.0)
        await asyncio.sleep(0.1)
        return Transcript(Task.TRANSCRIBE, "en", 1.0, ())

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    answer = await event_stream.EventStream.begin(
        fake_request(), work, EventWriter(ResponseFormat.JSON, logprobs=False)
    )
    await answer({}, never, send)
    assert sent[1].startswith(b":")
    assert sent[-2].endswith(b"data: [DONE]\n\n")


async def test_giving_up_before_it_is_known_to_be_audio_ends_the_work() -> None:
    ended = asyncio.Event()

    async def work(_: Any) -> Transcript:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    begin = event_stream.EventStream.begin(
        fake_request(), work, EventWriter(ResponseFormat.JSON, logprobs=False)
    )
    task = asyncio.create_task(begin)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@given(st.lists(st.text(alphabet=" ab\n\u3000é世", max_size=6), max_size=8))
def test_deltas_are_the_text_to_the_letter(texts: list[str]) -> None:
    segments = tuple(replace(SEGMENT, id=i, text=text) for i, text in enumerate(texts))
    writer = EventWriter(ResponseFormat.JSON, logprobs=False)
    events = [event for each in segments for event in writer.segment(SpokenSegment(each, ()))]
    deltas = [event.delta for event in events if isinstance(event, TranscriptTextDelta)]
    assert all(deltas)
    assert "".join(deltas) == Transcript(Task.TRANSCRIBE, "en", 1.0, segments).text


def fake_request() -> Request:
    return Request({"type": "http", "state": {"began": 0.0}})


async def never() -> Any:
    await asyncio.Event().wait()


async def test_words_come_with_each_segment_and_all_at_the_end(
    post: Post, transcriber: Double
) -> None:
    words = (Word(" Hello,", 0.1, 0.48, 0.9), Word(" world.", 0.48, 1.2, 0.8))
    transcriber.segments = [replace(SEGMENT, words=words)]
    fields = STREAM | {
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word", "segment"],
    }
    _, segment, done, _ = payloads(await post(fields))
    assert [word["word"] for word in segment["words"]] == [" Hello,", " world."]
    assert [word["word"] for word in done["words"]] == ["Hello,", "world."]


@pytest.mark.parametrize("broken_at", [None, 7.02])
async def test_a_stream_says_in_its_headers_at_which_second_the_file_broke(
    post: Post, transcriber: Double, broken_at: float | None
) -> None:
    transcriber.broken_at = broken_at
    answer = await post(STREAM)
    expected = None if broken_at is None else "7.020"
    assert answer.headers.get("x-audio-broken-at") == expected
