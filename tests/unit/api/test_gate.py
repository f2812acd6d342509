"""A request is let in or refused before its body is read, and gives back what it was given."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from starlette.responses import StreamingResponse

from whisper_service.api import audio
from whisper_service.api.keys import KeyRing
from whisper_service.errors import Fault, ServiceError
from whisper_service.service.admission import Admission
from whisper_service.service.contract import State

ROUTE = "audio/transcriptions"


async def never_read():
    pytest.fail("the body was read")
    yield b""


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("whisper_refused_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("limits", [{"windows": 0}, {"uploads": 0}])
async def test_an_overloaded_service_refuses_before_the_body_is_read(
    client, raw, transcriber, error_of, limits
) -> None:
    transcriber.admission = Admission(**{"windows": 9, "uploads": 9, "decoders": 1} | limits)
    if "windows" in limits:
        transcriber.admission.queue.change("127.0.0.1", 1)
    response = await client.post(ROUTE, content=never_read(), headers=raw.headers)
    assert response.status_code == 429
    error = error_of(response)
    assert (error["type"], error["code"]) == ("rate_limit_error", "overloaded")
    assert 1 <= int(response.headers["retry-after"]) <= 5


async def test_a_full_service_still_lists_its_models(client, transcriber) -> None:
    transcriber.admission = Admission(windows=1, uploads=0, decoders=1)
    assert (await client.get("models")).status_code == 200


async def test_who_is_refused_together_does_not_come_back_together(post, transcriber) -> None:
    transcriber.failure = ServiceError(Fault.OVERLOADED, "Full.")
    seconds = {(await post()).headers["retry-after"] for _ in range(3)}
    assert len(seconds) == 3


async def test_refusals_at_the_door_are_counted_by_reason(client, app, transcriber) -> None:
    before = {reason: refused(reason) for reason in ("key", "state", "uploads")}
    transcriber.state = State.DRAINING
    await client.get("models")
    transcriber.state = State.READY
    transcriber.admission = Admission(windows=9, uploads=0, decoders=1)
    await client.post(ROUTE)
    app.state.keys = KeyRing([SecretStr("right")])
    await client.get("models")
    assert {reason: refused(reason) - count for reason, count in before.items()} == {
        "key": 1,
        "state": 1,
        "uploads": 1,
    }


@pytest.mark.parametrize("failure", [None, ServiceError(Fault.UNREADABLE_AUDIO, "No."), OSError()])
async def test_a_request_gives_its_permit_back(post, transcriber, failure) -> None:
    transcriber.failure = failure
    await post()
    await post({"temperature": "hot"})
    await post(file=("speech.wav", b""))
    assert transcriber.admission.accepted == 0
    assert transcriber.admission.queue.used == 0
    assert transcriber.admission.uploads.used == 0


async def test_a_request_holds_its_permit_while_it_is_served(post, transcriber) -> None:
    transcriber.hangs = True
    asking = asyncio.create_task(post())
    await transcriber.began.wait()
    assert transcriber.admission.accepted == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert transcriber.admission.accepted == 0


async def test_an_answer_holds_its_permit_until_it_is_sent_to_the_end(
    post, transcriber, monkeypatch
) -> None:
    held = []

    async def stream():
        held.append(transcriber.admission.accepted)
        yield b"x"
        held.append(transcriber.admission.accepted)

    async def answer(*_):
        return StreamingResponse(stream())

    monkeypatch.setattr(audio, "_answer", answer)
    await post()
    assert held == [1, 1]
    assert transcriber.admission.accepted == 0


@pytest.mark.parametrize("locked", [False, True])
async def test_the_service_is_shared_among_keys_or_else_addresses(
    post, app, transcriber, locked
) -> None:
    users = []
    original = transcriber.admission.admit
    transcriber.admission.admit = lambda user: (users.append(user), original(user))[1]
    if locked:
        app.state.keys = KeyRing([SecretStr("one"), SecretStr("two")])
    for key in ("one", "two"):
        await post(headers={"authorization": f"Bearer {key}"})
    assert users == (["key-1", "key-2"] if locked else ["127.0.0.1"] * 2)


async def test_a_request_that_takes_too_long_is_ended_and_not_sent_again(
    post, app, settings, transcriber, error_of
) -> None:
    app.state.settings = settings.model_copy(update={"request_timeout_seconds": 0.05})
    transcriber.hangs = True
    response = await post()
    assert response.status_code == 504
    assert error_of(response)["code"] == "timed_out"
    assert response.headers["x-should-retry"] == "false", "the SDKs would try twice more"
    assert transcriber.cancelled
    assert transcriber.file.closed
    assert transcriber.admission.accepted == 0


async def test_a_timeout_of_something_else_is_no_deadline(post, transcriber) -> None:
    transcriber.failure = TimeoutError()
    assert (await post()).status_code == 500


async def test_a_pause_in_an_upload_is_not_waited_for(
    client, app, settings, raw, error_of, transcriber
) -> None:
    app.state.settings = settings.model_copy(update={"upload_idle_seconds": 0.05})

    async def pauses():
        yield raw.parts[0]
        await asyncio.sleep(60)

    response = await client.post(ROUTE, content=pauses(), headers=raw.headers)
    assert response.status_code == 408
    assert error_of(response)["code"] == "upload_too_slow"
    assert transcriber.admission.uploads.used == 0


async def test_a_slow_upload_without_long_pauses_is_taken(client, app, settings, raw) -> None:
    app.state.settings = settings.model_copy(update={"upload_idle_seconds": 0.5})
    body = raw.file(b"x" * 50).body

    async def slow():
        for byte in body:
            yield bytes([byte])
            await asyncio.sleep(0.003)

    response = await client.post(ROUTE, content=slow(), headers=raw.headers)
    assert response.status_code == 200


async def test_the_forms_limits_are_settings(client, app, settings, raw, error_of) -> None:
    app.state.settings = settings.model_copy(update={"max_form_parts": 3, "max_field_bytes": 500})
    form = raw.text("response_format", "json").text("language", "en").file()
    response = await client.post(ROUTE, content=form.body, headers=form.headers)
    assert "more than 3 parts" in error_of(response)["message"]
    form.parts = [form.parts[0], form.parts[-1]]
    form.text("language", "e" * 501)
    response = await client.post(ROUTE, content=form.body, headers=form.headers)
    assert "longer than 500 bytes" in error_of(response)["message"]
