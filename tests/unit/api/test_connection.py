"""What a connection may do: over real sockets, against the server as it is run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from pydantic import SecretStr

from whisper_service.api import serving
from whisper_service.api.keys import KeyRing
from whisper_service.api.request_id import HEADER
from whisper_service.service.admission import Admission
from whisper_service.settings import Settings

MiB = 1024 * 1024
PATH = "/v1/audio/transcriptions"
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
BUFFERS = 16 * MiB  # more than the two sockets take in before somebody reads


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert self.headers[HEADER]
        return error


async def answer_on(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status_line, *lines = head.splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(status_line.split()[1]), headers, body)


class Server:
    """The server on a port of its own."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.uvicorn = server
        self.port: int = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(
            *(writer.wait_closed() for writer in self._writers), return_exceptions=True
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 -- no event for it
                await asyncio.sleep(0.005)

    @property
    def connections(self) -> int:
        return len(self.uvicorn.server_state.connections)


Serve = Callable[..., Any]


@pytest.fixture
async def serve(app, settings: Settings) -> AsyncIterator[Serve]:
    """Serves the application, or another one, under changed settings."""

    @asynccontextmanager
    async def running(**changed: Any) -> AsyncIterator[Server]:
        other = changed.pop("app", app)
        chosen = settings.model_copy(update={"port": 0} | changed)
        app.state.settings = chosen
        server = uvicorn.Server(serving.server_config(other, chosen))
        task = asyncio.create_task(server._serve())
        while not server.started:  # noqa: ASYNC110 -- no event for it
            await asyncio.sleep(0.005)
        served = Server(server)
        try:
            yield served
        finally:
            await served.hang_up()
            server.should_exit = True
            await task

    async with AsyncExitStack() as stack:
        yield lambda **changed: stack.enter_async_context(running(**changed))


def form(size: int) -> dict[str, Any]:
    return {
        "data": {"model": "whisper-1"},
        "files": {"file": ("speech.wav", b"x" * size)},
        "timeout": 60,
    }


@pytest.fixture
def full(transcriber) -> None:
    """No request is let in."""
    transcriber.admission = Admission(windows=9, uploads=0, decoders=1)


async def test_a_large_upload_that_is_refused_still_gets_its_answer(
    serve, full, transcriber, error_of
) -> None:
    server = await serve(max_upload_bytes=25 * MiB)
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            response = await client.post(server.url + PATH, **form(20 * MiB))
            assert response.status_code == 429
            assert error_of(response)["code"] == "overloaded"
            assert response.headers["connection"] == "close"
            assert 1 <= int(response.headers["retry-after"]) <= 5
    assert not transcriber.asked


async def test_a_large_upload_without_a_key_still_gets_its_answer(serve, app, error_of) -> None:
    app.state.keys = KeyRing([SecretStr("right")])
    server = await serve(max_upload_bytes=25 * MiB)
    async with httpx.AsyncClient() as client:
        response = await client.post(server.url + PATH, **form(20 * MiB))
    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"


async def test_an_upload_beyond_the_limit_still_gets_its_answer(serve, error_of) -> None:
    server = await serve(max_upload_bytes=MiB)
    async with httpx.AsyncClient() as client:
        response = await client.post(server.url + PATH, **form(2 * MiB))
        assert error_of(response)["code"] == "upload_too_large"
        response = await client.post(server.url + PATH, content=in_pieces(b"y" * 2 * MiB))
        assert error_of(response)["code"] == "malformed_request"


async def in_pieces(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def test_the_answer_comes_before_the_body_has(serve, full, transcriber) -> None:
    server = await serve()
    reader, writer = await server.connect()
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc".encode())
    answer = await answer_on(reader)
    assert answer.status == 429
    assert transcriber.admission.accepted == 0
    writer.write(b"x" * 999_997)
    assert await reader.read() == b"", "the rest is taken, then the connection is closed"


async def test_who_asks_before_sending_need_not_send(serve, full) -> None:
    server = await serve()
    reader, writer = await server.connect()
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    assert (await answer_on(reader)).status == 429
    writer.close()
    await server.until(lambda: server.connections == 0)


async def test_a_refused_upload_without_end_is_cut_off(serve, full, monkeypatch) -> None:
    server = await serve(max_upload_bytes=MiB)
    reader, writer = await server.connect()
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    assert (await answer_on(reader)).status == 429

    async def send_without_end() -> None:
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    with pytest.raises(ConnectionError):
        await send_without_end()
    await server.until(lambda: server.connections == 0)


async def test_a_refused_upload_that_stalls_is_cut_off(serve, full, monkeypatch) -> None:
    monkeypatch.setattr(serving, "_LINGER_IDLE_SECONDS", 0.05)
    server = await serve()
    reader, writer = await server.connect()
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc".encode())
    assert (await answer_on(reader)).status == 429
    assert await reader.read() == b""


async def test_a_connection_whose_upload_was_taken_is_used_again(serve) -> None:
    server = await serve()
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            response = await client.post(server.url + PATH, **form(1000))
            assert response.status_code == 200
            assert "connection" not in response.headers
        assert server.connections == 1


async def test_the_sdks_retries_carry_it_over_a_full_queue(serve, full, transcriber) -> None:
    server = await serve(max_upload_bytes=25 * MiB)
    asked = 0

    def refuse_twice(user):
        nonlocal asked
        asked += 1
        if asked == 3:
            transcriber.admission = Admission(windows=9, uploads=9, decoders=1)
        return transcriber.admission.admit(user)

    transcriber.admit = refuse_twice
    async with openai.AsyncOpenAI(api_key="none", base_url=server.url + "/v1") as sdk:
        sdk._calculate_retry_timeout = lambda *_: 0.01
        result = await sdk.audio.transcriptions.create(file=b"x" * 20 * MiB, model="whisper-1")
    assert result.text == "Hello, world."
    assert asked == 3


@pytest.mark.parametrize("begun", [b"", b"GET /health/live HT", HEALTH[:-2]])
async def test_headers_that_do_not_come_are_not_waited_for(serve, begun) -> None:
    server = await serve(header_timeout_seconds=0.05)
    reader, writer = await server.connect()
    writer.write(begun)
    answer = await answer_on(reader)
    assert (answer.status, answer.error["code"]) == (408, "upload_too_slow")
    assert await reader.read() == b""


async def test_headers_that_trickle_gain_no_time(serve) -> None:
    server = await serve(header_timeout_seconds=0.1)
    reader, writer = await server.connect()
    answering = asyncio.create_task(answer_on(reader))
    writer.write(b"GET / HTTP/1.1\r\n")
    for number in range(10_000):
        if answering.done():
            break
        writer.write(b"X-%d: y\r\n" % number)
        await asyncio.sleep(0.01)
    assert (await answering).status == 408


async def test_headers_of_a_second_request_have_no_more_time_than_the_first(serve) -> None:
    server = await serve(header_timeout_seconds=0.05)
    reader, writer = await server.connect()
    writer.write(HEALTH)
    assert (await answer_on(reader)).status == 200
    writer.write(HEALTH[:10])
    assert (await answer_on(reader)).status == 408


async def test_a_request_may_take_longer_than_its_headers(serve, transcriber) -> None:
    server = await serve(header_timeout_seconds=0.05)
    original = transcriber.transcribe

    async def slowly(*args):
        await asyncio.sleep(0.2)
        return await original(*args)

    transcriber.transcribe = slowly
    async with httpx.AsyncClient() as client:
        assert (await client.post(server.url + PATH, **form(1000))).status_code == 200


@pytest.mark.parametrize(
    "endless", [b"GET /" + b"x" * 400_000, b"GET / HTTP/1.1\r\nX: " + b"y" * 400_000]
)
async def test_headers_without_end_are_refused(serve, endless) -> None:
    server = await serve()
    reader, writer = await server.connect()
    writer.write(endless)
    answer = await answer_on(reader)
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")


async def test_large_headers_that_are_within_the_limit_are_taken(serve) -> None:
    server = await serve()
    async with httpx.AsyncClient() as client:
        headers = {f"x-{number}": "y" * 7000 for number in range(8)}
        assert (await client.get(server.url + "/health/live", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # how TLS begins
        b"hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without a host
    ],
)
async def test_what_is_no_http_gets_the_same_shape_of_error(serve, nonsense, caplog) -> None:
    caplog.set_level("INFO")
    server = await serve()
    reader, writer = await server.connect()
    writer.write(nonsense)
    answer = await answer_on(reader)
    assert (answer.status, answer.error["code"]) == (400, "malformed_request")
    assert await reader.read() == b""
    assert answer.headers[HEADER] in caplog.text


async def test_connections_beyond_the_limit_may_ask_for_health_and_not_for_work(
    serve, transcriber, error_of
) -> None:
    server = await serve(max_connections=2)
    idle = [await server.connect() for _ in range(2)]
    await server.until(lambda: server.connections == 2)
    async with httpx.AsyncClient() as client:
        response = await client.post(server.url + PATH, **form(1000))
        assert response.status_code == 429
        assert "connections" in error_of(response)["message"]
        assert (await client.get(server.url + "/health/live")).status_code == 200
        for _, writer in idle:
            writer.close()
        await server.until(lambda: server.connections <= 1)
        assert (await client.post(server.url + PATH, **form(1000))).status_code == 200


async def test_a_client_that_does_not_read_its_answer_is_cut_off(serve) -> None:
    left = asyncio.Event()

    async def large(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(BUFFERS // MiB):
            await send({"type": "http.response.body", "body": b"x" * MiB, "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b""})
        left.set()

    server = await serve(app=large, send_timeout_seconds=0.05)
    _, writer = await server.connect()
    writer.write(HEALTH)
    async with asyncio.timeout(20):
        await left.wait()
    await server.until(lambda: server.connections == 0)


async def test_a_client_that_reads_slowly_is_not(serve) -> None:
    async def large(scope, receive, send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(4 * BUFFERS // MiB):
                await send({"type": "http.response.body", "body": b"x" * MiB, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    server = await serve(app=large, send_timeout_seconds=5)
    reader, writer = await server.connect()
    writer.write(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    received = 0
    while data := await reader.read(256 * 1024):
        received += len(data)
        await asyncio.sleep(0.001)
    assert received > 4 * BUFFERS


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_an_offer_to_upgrade_is_declined(serve, protocol) -> None:
    server = await serve()
    async with httpx.AsyncClient() as client:
        headers = {"connection": "upgrade", "upgrade": protocol, "sec-websocket-version": "13"}
        response = await client.get(server.url + "/health/live", headers=headers)
        assert response.status_code == 200
        response = await client.post(server.url + PATH, headers=headers, **form(200_000))
        assert response.status_code == 200


async def test_a_client_that_leaves_while_it_uploads_gives_its_place_back(
    serve, transcriber
) -> None:
    server = await serve()
    _, writer = await server.connect()
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
    )
    await server.until(lambda: transcriber.admission.accepted == 1)
    writer.transport.abort()
    await server.until(lambda: transcriber.admission.accepted == 0)
    assert transcriber.admission.uploads.used == 0
