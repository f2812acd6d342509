"""Nobody's work goes on after its client has gone."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect

from whisper_service.api.disconnect import run_while_connected

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/audio/transcriptions",
    "query_string": b"",
}


class Client:
    """Sends a whole form and, once it is told to leave, hangs up."""

    def __init__(self, raw) -> None:
        self.scope = SCOPE | {
            "headers": [(name.encode(), value.encode()) for name, value in raw.headers.items()]
        }
        self.leaves = asyncio.Event()
        self.sent = []
        self._body = raw.file().body

    async def receive(self) -> dict:
        if self._body:
            body, self._body = self._body, b""
            return {"type": "http.request", "body": body}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        self.sent.append(message)


async def test_a_transcription_is_cancelled_when_its_client_hangs_up(
    app, raw, transcriber, caplog
) -> None:
    transcriber.hangs = True
    client = Client(raw)
    serving = asyncio.create_task(app(client.scope, client.receive, client.send))
    await transcriber.began.wait()
    client.leaves.set()
    async with asyncio.timeout(1):
        await serving
    assert transcriber.cancelled
    assert transcriber.file.closed
    assert client.sent[0]["status"] == 499
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_transcription_is_cancelled_when_its_handler_is(app, raw, transcriber) -> None:
    transcriber.hangs = True
    client = Client(raw)
    serving = asyncio.create_task(app(client.scope, client.receive, client.send))
    await transcriber.began.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert transcriber.cancelled
    assert transcriber.file.closed
    assert client.sent[0]["status"] == 503, "and not the bare string that uvicorn would send"
    assert json.loads(client.sent[1]["body"])["error"]["code"] == "not_ready"


async def test_an_answer_leaves_no_watcher_behind(post) -> None:
    before = asyncio.all_tasks()
    await post()
    assert asyncio.all_tasks() == before


async def test_work_that_is_done_counts_even_if_the_client_has_just_left() -> None:
    async def gone() -> dict:
        return {"type": "http.disconnect"}

    async def done() -> int:
        return 3

    assert await run_while_connected(gone, done()) == 3


async def test_a_failure_of_the_work_is_the_callers_to_see() -> None:
    async def stays() -> dict:
        await asyncio.Event().wait()
        return {}

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run_while_connected(stays, fails())


async def test_a_cleanup_that_takes_a_while_is_waited_for() -> None:
    cleaned = False

    async def gone() -> dict:
        return {"type": "http.disconnect"}

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned = True

    with pytest.raises(ClientDisconnect):
        await run_while_connected(gone, work())
    assert cleaned
