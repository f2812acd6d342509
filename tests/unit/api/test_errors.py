"""Every error has OpenAI's shape, and the SDKs know what to do with it."""

from __future__ import annotations

import logging

import httpx2
import openai
import pytest
from starlette.exceptions import HTTPException

from whisper_service.api.errors import WIRE
from whisper_service.api.failures import FailureMiddleware
from whisper_service.errors import Fault, ServiceError
from whisper_service.service.contract import State


def test_every_fault_has_an_answer() -> None:
    assert set(WIRE) == set(Fault)


def test_every_answer_is_an_error_with_a_code_of_its_own() -> None:
    assert all(400 <= wire.status <= 599 for wire in WIRE.values())
    assert len({wire.code for wire in WIRE.values()}) == len(WIRE)


def test_the_callers_mistakes_are_no_server_errors() -> None:
    servers = {Fault.NOT_READY, Fault.ENGINE_DEAD, Fault.TIMED_OUT, Fault.INTERNAL}
    assert {fault for fault, wire in WIRE.items() if wire.status >= 500} == servers


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_fault_of_the_service_below_is_answered(post, transcriber, error_of, fault) -> None:
    transcriber.failure = ServiceError(fault, "What is wrong.", "file")
    response = await post()
    assert response.status_code == WIRE[fault].status
    error = error_of(response)
    assert error == {
        "message": "What is wrong.",
        "type": WIRE[fault].type,
        "param": "file",
        "code": WIRE[fault].code,
    }
    assert transcriber.file.closed


@pytest.mark.parametrize("fault", [Fault.OVERLOADED, Fault.NOT_READY, Fault.ENGINE_DEAD])
async def test_who_should_come_back_is_told_when(post, transcriber, fault) -> None:
    transcriber.failure = ServiceError(fault, "Later.")
    assert 1 <= int((await post()).headers["retry-after"]) <= 5


async def test_an_unexpected_failure_tells_the_log_and_not_the_caller(
    post, transcriber, error_of, caplog
) -> None:
    transcriber.failure = RuntimeError("secret path /etc/x")
    response = await post(headers={"x-request-id": "abc"})
    assert response.status_code == 500
    error = error_of(response)
    assert error["code"] == "internal_error"
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "abc"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.levelno == logging.ERROR
    assert transcriber.file.closed


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "route_not_found"),
        ("GET", "/index.html", 404, "route_not_found"),
        ("POST", "/v1/audio/transcriptions/", 404, "route_not_found"),
        ("POST", "/v1/audio/speech", 404, "route_not_found"),
        ("GET", "/v1/audio/transcriptions", 405, "method_not_allowed"),
        ("PUT", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/whisper-1", 405, "method_not_allowed"),
        ("OPTIONS", "/metrics", 405, "method_not_allowed"),
        ("BREW", "/coffee%0Apot", 404, "route_not_found"),
    ],
)
async def test_wrong_addresses_and_methods(client, error_of, method, path, status, code) -> None:
    response = await client.request(method, f"http://test{path}")
    assert response.status_code == status
    assert error_of(response)["code"] == code
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (HTTPException(413, "Too big."), 413),
        (HTTPException(422, "Odd."), 400),
        (HTTPException(418), 400),
        (HTTPException(502), 500),
    ],
)
async def test_the_frameworks_own_errors_have_the_shape_too(
    post, transcriber, error_of, raised, status
) -> None:
    transcriber.failure = raised
    response = await post()
    assert response.status_code == status
    error_of(response)


async def test_a_failure_in_mid_answer_cuts_the_connection() -> None:
    async def breaks_off(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def send(message) -> None:
        pass

    with pytest.raises(RuntimeError):
        await FailureMiddleware(breaks_off)({"type": "http"}, None, send)


async def test_work_is_refused_before_its_body_is_read(client, transcriber, raw, error_of) -> None:
    async def never_read():
        pytest.fail("the body was read")
        yield b""

    for state, code, hint in [
        (State.STARTING, "not_ready", "starting"),
        (State.DRAINING, "not_ready", "draining"),
        (State.DEAD, "engine_dead", "engine"),
    ]:
        transcriber.state = state
        response = await client.post(
            "audio/transcriptions", content=never_read(), headers=raw.headers
        )
        assert response.status_code == 503
        error = error_of(response)
        assert error["code"] == code
        assert hint in error["message"]
        assert response.headers["retry-after"]


async def test_the_sdk_raises_its_own_exceptions(sdk, transcriber) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        await sdk.audio.transcriptions.create(file=b"x", model="whisper-1", temperature=3)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as unknown:
        await sdk.audio.transcriptions.create(file=b"x", model="gpt-4o")
    assert unknown.value.code == "model_not_found"
    assert unknown.value.request_id
    transcriber.failure = ServiceError(Fault.OVERLOADED, "Full.")
    with pytest.raises(openai.RateLimitError):
        await sdk.audio.transcriptions.create(file=b"x", model="whisper-1")


async def test_the_sdks_own_retry_carries_it_over_a_full_queue(app, transcriber) -> None:
    transcriber.failure = ServiceError(Fault.OVERLOADED, "Full.")
    waited = []

    class Recovering(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            response = await super().handle_async_request(request)
            waited.append(response.headers.get("retry-after"))
            response.headers.pop("retry-after", None)
            if response.status_code == 429:
                response.headers["retry-after-ms"] = "1"
                transcriber.failure = None
            return response

    async with httpx2.AsyncClient(transport=Recovering(app)) as http_client:
        sdk = openai.AsyncOpenAI(api_key="none", base_url="http://test/v1", http_client=http_client)
        result = await sdk.audio.transcriptions.create(file=b"x", model="whisper-1")
    assert result.text == "Hello, world."
    first, second = waited
    assert 1 <= int(first) <= 5
    assert second is None
