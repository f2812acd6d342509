"""Ten times as many clients as there is room for; then the order to stop, while it works."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from openai import AsyncOpenAI

from tests.conftest import Clip
from tests.integration.conftest import STOP_SECONDS, Server, start_server, wait_until_ready
from tests.integration.load import crowd, held, speech, transcribe, until

CAPACITY = 8  # windows of accepted requests
ONE_USERS = 6  # of them; the last quarter is for others
CLIENTS = 10 * CAPACITY
RETRIES = 40
REFUSED_WITHIN = 2.0  # seconds; a refusal needs neither the body nor the engine


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(
        tmp_path_factory.mktemp("small"),
        WHISPER_MAX_WINDOWS_IN_FLIGHT="2",
        WHISPER_MAX_QUEUED_WINDOWS=str(CAPACITY - 2),
    )
    wait_until_ready(server)
    yield server
    if server.process.poll() is None:
        server.process.kill()


def test_the_accepted_complete_and_all_others_are_refused_at_once(
    small: Server, clips: dict[str, Clip]
) -> None:
    audio = speech(clips, 40)  # two windows: the first ones are not done when the last one comes

    async def one(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        return await transcribe(client, audio), time.monotonic() - began

    async def scenario() -> list[tuple[httpx.Response, float]]:
        async with crowd(small) as client:
            return await asyncio.gather(*(one(client) for _ in range(CLIENTS)))

    answers = asyncio.run(scenario())
    accepted = [answer for answer, _ in answers if answer.status_code == 200]
    refused = [(answer, seconds) for answer, seconds in answers if answer.status_code == 429]
    slowest = max(seconds for _, seconds in refused)
    print(f"{len(accepted)} of {CLIENTS} accepted; the slowest refusal took {slowest:.2f} s")
    assert len(accepted) + len(refused) == CLIENTS
    assert ONE_USERS <= len(accepted) <= CLIENTS / 4
    assert all("lazy dog" in answer.json()["text"] for answer in accepted)
    for answer, _ in refused:
        assert answer.json()["error"]["code"] == "overloaded"
        assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert slowest < REFUSED_WITHIN


def test_the_sdks_own_retries_carry_everybody_through(
    small: Server, clips: dict[str, Clip]
) -> None:
    clip = clips["en/quick_brown_fox"].path.read_bytes()

    async def scenario() -> list[str]:
        url = f"{small.url}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=RETRIES) as sdk:
            ask = sdk.audio.transcriptions.create
            answers = await asyncio.gather(
                *(ask(model="whisper-1", file=("a.wav", clip)) for _ in range(CLIENTS))
            )
            return [answer.text for answer in answers]

    texts = asyncio.run(scenario())
    assert len(texts) == CLIENTS
    assert all("lazy dog" in text for text in texts)


def test_told_to_stop_it_finishes_what_it_accepted_and_takes_no_more(
    small: Server, clips: dict[str, Clip]
) -> None:
    """The last test of this server."""
    audio = speech(clips, 50)

    async def scenario() -> tuple[list[httpx.Response], httpx.Response, httpx.Response]:
        async with crowd(small) as client:
            asked = [
                asyncio.ensure_future(transcribe(client, audio, stream=str(number % 2 == 1)))
                for number in range(ONE_USERS // 2)
            ]

            async def all_are_in() -> bool:
                now = await held(client)
                return now["whisper_windows_running"] == 2 and now["whisper_uploads_held"] == 0

            async def unready() -> bool:
                return (await client.get("/health/ready")).status_code == 503

            await until(all_are_in)
            small.process.send_signal(signal.SIGTERM)
            await until(unready, 1)
            refused = await transcribe(client, audio)
            live = await client.get("/health/live")
            assert not any(each.done() for each in asked), "they were too short"
            return await asyncio.gather(*asked), refused, live

    answers, refused, live = asyncio.run(scenario())
    assert small.process.wait(STOP_SECONDS) == 0
    assert live.status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
    for number, answer in enumerate(answers):
        assert answer.status_code == 200
        assert "lazy dog" in answer.text
        assert answer.text.endswith("data: [DONE]\n\n") == (number % 2 == 1)
    log = small.log.read_text()
    assert f"finishing {len(answers)} accepted requests" in log
    assert "Traceback" not in log
