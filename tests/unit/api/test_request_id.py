"""Each request can be found in the log, and its line tells nothing private."""

from __future__ import annotations

import logging

import pytest

from whisper_service.api.request_id import RequestIdFilter, current_request_id
from whisper_service.service.contract import State


@pytest.fixture
def lines(caplog):
    """The log lines so far, with the request id that each would be written with."""
    caplog.handler.addFilter(RequestIdFilter())
    caplog.set_level(logging.INFO)
    return lambda name: [
        (record.request_id, record.getMessage())
        for record in caplog.records
        if record.name.startswith(name)
    ]


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/nowhere", "/v1/models/x", "/docs"])
async def test_every_answer_has_an_id(client, path) -> None:
    first = await client.get(f"http://test{path}")
    second = await client.get(f"http://test{path}")
    assert first.headers["x-request-id"].startswith("req_")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize("sane", ["abc", "a" * 128, "0af7651916cd43dd-8448eb211c80319c", "a:b/c"])
async def test_a_clients_own_id_is_taken_over(client, sane) -> None:
    response = await client.get("models", headers={"x-request-id": sane})
    assert response.headers.get_list("x-request-id") == [sane]


@pytest.mark.parametrize("odd", [b"", b"a" * 129, b"a b", b"a\tb", b"\xe9", b"<script>", b"a;b"])
async def test_an_odd_id_is_replaced(client, odd) -> None:
    response = await client.get("models", headers=[(b"x-request-id", odd)])
    assert response.headers["x-request-id"].startswith("req_")


async def test_every_log_line_of_a_request_has_its_id(post, transcriber, lines) -> None:
    original = transcriber.transcribe

    async def logging_transcribe(*request):
        logging.getLogger("whisper_service.engine").info("at work")
        return await original(*request)

    transcriber.transcribe = logging_transcribe
    await post(headers={"x-request-id": "mine"})
    assert lines("whisper_service.engine") == [("mine", "at work")]
    assert [request_id for request_id, _ in lines("whisper_service.access")] == ["mine"]
    assert current_request_id() == "-"


async def test_the_access_log_has_one_line_for_each_request(
    post, client, transcriber, lines
) -> None:
    await post({"prompt": "a secret"})
    await client.get("models?api_key=secret")
    await client.get("http://test/no%0Awhere")
    transcriber.state = State.DRAINING
    await post()
    messages = [message for _, message in lines("whisper_service.access")]
    assert [message.rsplit(maxsplit=2)[0] for message in messages] == [
        "POST /api/v1/audio/transcriptions 200",
        "GET /api/v1/models 200",
        "GET /no%0Awhere 404",
        "POST /api/v1/audio/transcriptions 503",
    ]
    assert all(message.endswith(" ms") for message in messages)


async def test_no_log_line_has_audio_or_text_of_the_client(post, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    await post({"prompt": "a secret"}, file=("secret.wav", b"RIFF secret"))
    await post({"temperature": "secret"})
    text = caplog.text
    assert "secret" not in text
    assert "Hello" not in text
