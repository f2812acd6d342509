"""What clients do to the service, good and bad, and what may come of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from reliability.media import FORMATS, Clip, damaged, encode, long_speech, lures
from reliability.requests import TRANSCRIBE, TRANSLATE, Client, Outcome, WrongAnswerError

RESPONSE_FORMATS: Final = ("json", "text", "srt", "vtt", "verbose_json")
# The long files are few sentences over and over, which would be taken for loops and tried again.
ONE_TRY: Final = {"compression_ratio_threshold": "100", "logprob_threshold": "-100"}
_BOUNDARY: Final = "frontier"
_SLOW_PIECES: Final = 12
_SLOW_PAUSE: Final = 0.4  # seconds

Action = Callable[[Client, random.Random], Awaitable[Outcome | None]]


@dataclass(frozen=True)
class Kind:
    """weight: how often it is done beside the others. expected: statuses that it may end with.

    Whoever makes it raises `WrongAnswerError` where a body is wrong; None: it ended without one.
    """

    name: str
    weight: float
    expected: frozenset[int]
    act: Action


class Traffic:
    """All recordings, encoded once, and the kinds of clients."""

    def __init__(self, clips: Sequence[Clip], seed: int) -> None:
        chance = random.Random(seed)
        english = [clip for clip in clips if clip.language == "en"]
        self._clips = [
            (clip.language, encode(clip.samples, name)) for clip in clips for name in FORMATS
        ]
        self._long = [
            encode(long_speech(english, seconds, seed), name)
            for seconds, name in ((45, "mp3"), (90, "m4a"), (150, "ogg"), (240, "flac"))
        ]
        self._lures = lures(9)
        self._quiet_hour = b""
        self._damaged = [damaged(chance.choice(self._clips)[1], chance) for _ in range(500)]
        ok, refused = frozenset({200}), frozenset({400, 401, 404, 405, 413})
        self.kinds = [
            Kind("clip", 10, ok, self._clip),
            Kind("stream", 5, ok, self._stream),
            Kind("long file", 1, ok, self._long_file),
            Kind("long stream", 1, ok, self._long_stream),
            Kind("translation", 2, ok, self._translation),
            Kind("damaged file", 8, frozenset({200, 400}), self._damaged_file),
            Kind("lure", 3, frozenset({400}), self._lure),
            Kind("wrong request", 4, refused, self._wrong),
            Kind("disconnect", 8, frozenset(), self._disconnect),
            Kind("slow upload", 2, frozenset({200, 429}), self._slow_upload),
            Kind("models and metrics", 2, ok, self._others),
        ]

    async def burst(self, client: Client, count: int) -> list[Outcome]:
        """So many clips in one moment, none of which comes again when it is refused."""
        clip = self._clips[0][1]
        asked = (client.post(TRANSCRIBE, clip, {}, tries=1) for _ in range(count))
        return await asyncio.gather(*asked)

    async def _clip(self, client: Client, chance: random.Random) -> Outcome:
        language, audio = chance.choice(self._clips)
        fields = {"response_format": chance.choice(RESPONSE_FORMATS)}
        if chance.random() < 0.5:
            fields["language"] = language
        return _with_text(await client.post(TRANSCRIBE, audio, fields))

    async def _stream(self, client: Client, chance: random.Random) -> Outcome:
        _, audio = chance.choice(self._clips)
        return _with_text(await client.post(TRANSCRIBE, audio, {"stream": "true"}))

    async def _long_file(self, client: Client, chance: random.Random) -> Outcome:
        fields = {"response_format": chance.choice(RESPONSE_FORMATS), "language": "en"}
        if chance.random() < 0.8:
            fields |= ONE_TRY
        if chance.random() < 0.2:
            fields["condition_on_previous_text"] = "true"
        return _with_text(await client.post(TRANSCRIBE, chance.choice(self._long), fields))

    async def _long_stream(self, client: Client, chance: random.Random) -> Outcome:
        fields = {"stream": "true", **ONE_TRY}
        return _with_text(await client.post(TRANSCRIBE, chance.choice(self._long), fields))

    async def _translation(self, client: Client, chance: random.Random) -> Outcome:
        return await client.post(TRANSLATE, chance.choice(self._clips)[1], {})

    async def _damaged_file(self, client: Client, chance: random.Random) -> Outcome:
        return await client.post(TRANSCRIBE, chance.choice(self._damaged), {})

    async def _lure(self, client: Client, chance: random.Random) -> Outcome:
        return await client.post(TRANSCRIBE, chance.choice(self._lures), {})

    async def _wrong(self, client: Client, chance: random.Random) -> Outcome:
        wrong: list[Mapping[str, str]] = [
            {"temperature": "7"}, {"model": "gpt-4o"}, {"language": "klingon"}, {"tempo": "1"},
            {"response_format": "diarized_json"}, {"stream": "true", "response_format": "srt"},
            {"prompt": "x" * 100_000},
        ]  # fmt: skip
        if chance.random() < 0.2:
            stranger = Client(client.url, "not-a-key" if client.headers else None)
            try:
                fields = {} if client.headers else chance.choice(wrong)
                return await stranger.post(TRANSCRIBE, b"RIFF", fields)
            finally:
                await stranger.close()
        return await client.post(TRANSCRIBE, chance.choice(self._clips)[1], chance.choice(wrong))

    async def _others(self, client: Client, chance: random.Random) -> Outcome:
        path = chance.choice(("/v1/models", "/v1/models/whisper-1", "/metrics", "/openapi.json"))
        answer = await client.get(path)
        return Outcome(answer.status_code, answer.elapsed.total_seconds())

    async def _disconnect(self, client: Client, chance: random.Random) -> None:
        audio = chance.choice(self._long) if chance.random() < 0.5 else self._clips[0][1]
        stream = {"stream": "true"} if chance.random() < 0.5 else {}
        data = raw_request(client, audio, stream)
        cut = chance.randrange(len(data)) if chance.random() < 0.3 else len(data)
        address = urlsplit(client.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            async with asyncio.timeout(chance.uniform(0, 3)):
                writer.write(data[:cut])
                await writer.drain()
                while await reader.read(65_536):
                    pass
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def _slow_upload(self, client: Client, chance: random.Random) -> Outcome:
        data = raw_request(client, chance.choice(self._clips)[1], {})
        address = urlsplit(client.url)
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            step = len(data) // _SLOW_PIECES + 1
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
                await asyncio.sleep(_SLOW_PAUSE)
            status = (await reader.readline()).split()[1]
        except (ConnectionError, IndexError) as error:
            raise WrongAnswerError(f"no answer to a slow upload: {error!r}") from None
        finally:
            writer.transport.abort()
        return Outcome(int(status), loop.time() - began)


def raw_request(client: Client, audio: bytes, fields: Mapping[str, str]) -> bytes:
    """A whole request as bytes, for what no client library would do with it."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"model": "whisper-1", **fields}.items()
    ]
    parts.append(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    body = "".join(parts).encode() + audio + f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {
        "host": urlsplit(client.url).netloc,
        "content-type": f"multipart/form-data; boundary={_BOUNDARY}",
        "content-length": str(len(body)),
        "connection": "close",
        **client.headers,
    }
    lines = [f"POST {TRANSCRIBE} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def _with_text(outcome: Outcome) -> Outcome:
    if outcome.status == 200 and outcome.code is None and not outcome.text.strip():
        raise WrongAnswerError("speech, and no text")
    return outcome
