"""The engine's process is killed under load: nobody waits for an answer that cannot come."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import psutil

from tests.conftest import Clip
from tests.integration.conftest import start_server, wait_until_ready
from tests.integration.load import crowd, held, is_engine, processes, speech, transcribe, until

NOTICED_WITHIN = 2.0  # seconds, as is promised
ENDED_WITHIN = 20.0
REQUESTS = 8


def error_of(response: httpx.Response) -> dict[str, str | None]:
    """The error object, of a body or at the end of a stream."""
    last = response.text.strip().splitlines()[-1].removeprefix("data: ")
    error: dict[str, str | None] = json.loads(last)["error"]
    return error


def test_when_the_engine_is_killed_all_are_told_and_the_process_ends(
    tmp_path: Path, clips: dict[str, Clip]
) -> None:
    # Few places, so that some windows run, and others wait for a place.
    server = start_server(tmp_path, WHISPER_MAX_WINDOWS_IN_FLIGHT="4")
    wait_until_ready(server)
    below = processes(server)[1:]
    audio = speech(clips, 150)

    async def scenario() -> tuple[float, list[httpx.Response], httpx.Response]:
        async with crowd(server) as client:
            asked = [
                asyncio.ensure_future(transcribe(client, audio, stream=str(number % 2 == 1)))
                for number in range(REQUESTS)
            ]

            async def busy() -> bool:
                now = await held(client)
                queued = now["whisper_windows_queued"]
                return now["whisper_windows_running"] == 4 and queued > REQUESTS

            async def unready() -> bool:
                return (await client.get("/health/ready")).status_code == 503

            await until(busy)
            (engine,) = filter(is_engine, processes(server))
            engine.kill()
            noticed = await until(unready)
            assert (await client.get("/health/live")).status_code == 200
            refused = await transcribe(client, audio)
            return noticed, await asyncio.gather(*asked), refused

    noticed, answers, refused = asyncio.run(scenario())
    began = time.monotonic()
    code = server.process.wait(ENDED_WITHIN)
    print(f"readiness failed after {noticed:.2f} s; ended {time.monotonic() - began:.2f} s later")
    assert noticed < NOTICED_WITHIN
    for number, answer in enumerate([*answers, refused]):
        error = error_of(answer)
        assert (error["type"], error["code"]) == ("server_error", "engine_dead"), error
        assert error["message"]
        assert "restarting" in error["message"]
        if number % 2 == 0:
            assert answer.status_code == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert code == 1
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []
    assert "the engine has died" in server.log.read_text()
