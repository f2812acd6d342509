"""Clients that hang up at any moment leave nothing behind."""

from __future__ import annotations

import asyncio
import random

from openai import OpenAI

from tests.conftest import Clip
from tests.integration.conftest import Server
from tests.integration.load import HELD, crowd, held, speech, until

CLIENTS = 200
CAME_WITHIN = 6.0  # seconds in which they come
STAYED = 3.0  # seconds that the most patient stays
FREED_WITHIN = 1.0  # seconds, as is promised
BOUNDARY = b"frontier"


def request(audio: bytes, host: str, *, stream: bool, wait: bool) -> bytes:
    """A whole request; `wait`: its windows one after the other."""
    fields = {b"model": b"whisper-1"}
    fields |= {b"stream": b"true"} if stream else {}
    fields |= {b"condition_on_previous_text": b"true"} if wait else {}
    head = b"--%b\r\nContent-Disposition: form-data; name=" % BOUNDARY
    parts = [head + b'"%b"\r\n\r\n%b\r\n' % field for field in fields.items()]
    parts.append(head + b'"file"; filename="a.wav"\r\n\r\n%b\r\n--%b--\r\n' % (audio, BOUNDARY))
    body = b"".join(parts)
    return (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\n\r\n%b"
    ) % (host.encode(), len(body), BOUNDARY, body)


async def hang_up_some_time(data: bytes, host: str, chance: random.Random) -> None:
    """Sends a part of the request, or all of it and reads for a while; then it is gone."""
    await asyncio.sleep(chance.uniform(0, CAME_WITHIN))
    reader, writer = await asyncio.open_connection(*host.split(":"))
    try:
        async with asyncio.timeout(chance.uniform(0, STAYED)):
            cut = chance.randrange(len(data)) if chance.random() < 0.25 else len(data)
            writer.write(data[:cut])
            await writer.drain()
            while await reader.read(65_536):
                pass
    except (TimeoutError, ConnectionError):
        pass
    writer.transport.abort()


def test_two_hundred_clients_that_hang_up_leave_nothing_behind(
    server: Server, client: OpenAI, clips: dict[str, Clip]
) -> None:
    chance = random.Random(20261125)
    host = server.url.removeprefix("http://")
    short, long = clips["en/hello_world"].path.read_bytes(), speech(clips, 150)
    requests = [
        request(audio, host, stream=stream, wait=wait)
        for audio in (short, long)
        for stream in (False, True)
        for wait in (False, True)
    ]

    async def scenario() -> tuple[dict[str, float], float]:
        most = dict.fromkeys(HELD, 0.0)
        async with crowd(server) as observer:
            gone = asyncio.gather(
                *(hang_up_some_time(chance.choice(requests), host, chance) for _ in range(CLIENTS))
            )
            while not gone.done():
                now = await held(observer)
                most = {name: max(most[name], now[name]) for name in HELD}
                await asyncio.sleep(0.2)

            async def nothing_is_held() -> bool:
                return not any((await held(observer)).values())

            return most, await until(nothing_is_held)

    most, freed_after = asyncio.run(scenario())
    print(f"held at most {most}; all of it was free after {freed_after:.2f} s")
    assert most["whisper_windows_accepted"] > CLIENTS / 8, "there was hardly anything to free"
    assert most["whisper_windows_running"] > 1
    assert most["whisper_uploads_held"] > 1
    assert freed_after < FREED_WITHIN
    result = client.audio.transcriptions.create(
        model="whisper-1", file=clips["en/quick_brown_fox"].path
    )
    assert "lazy dog" in result.text
    assert "Traceback" not in server.log.read_text()
