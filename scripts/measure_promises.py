"""Three promises measured on one service, which it starts: what a caller feels of the others.

live: how fast `/health/live` answers while 30 uploads are decoded and the engine is saturated.
fair: what one caller's clip of 5 s takes beside another's file of 3 h, against alone.
first: time to a stream's first text against the whole answer's, on 10 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from reliability import traffic
from reliability.figures import spread
from reliability.liveness import probing
from reliability.media import Clip, encode, hours_of_speech, load_clips, long_speech
from reliability.requests import TRANSCRIBE, Client
from reliability.service import RunningService, started

KEYS = ("key-of-the-one-with-a-long-file", "key-of-the-one-with-a-clip")
UPLOADS = 30
LIVE_SECONDS = 60.0
STAY_SECONDS = 12.0  # of an upload: most are not decoded by then, and others take their places
CLIP_SECONDS = 5.0
CLIPS = 15
RUNNING = "whisper_windows_running"
WINDOWS = ("whisper_window_duration_seconds_count", "whisper_window_duration_seconds_sum")
ROUNDS = 2
ONE_TRY = {"language": "en", **traffic.ONE_TRY}


async def live(service: RunningService, clips: list[Clip], folder: Path) -> dict[str, Any]:
    """`/health/live` when nothing else is asked, and under the load."""
    client = Client(service.url, KEYS[0])
    files = [encode(long_speech(clips, 600, seed), "mp3") for seed in range(3)]
    with probing(service.url, folder) as quiet:
        await asyncio.sleep(10)

    async def caller(number: int) -> int:
        """Uploads, and hangs up after a while to upload again. How often."""
        uploads = 0
        until = time.monotonic() + LIVE_SECONDS
        while time.monotonic() < until:
            file = files[number % len(files)]
            request = client.post(TRANSCRIBE, file, ONE_TRY, tries=1)
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    request, max(0.1, min(STAY_SECONDS, until - time.monotonic()))
                )
            uploads += 1
        return uploads

    observed: list[list[float]] = []

    async def observe() -> None:
        while True:
            observed.append(await gauges(client, "whisper_uploads_held", RUNNING))
            await asyncio.sleep(0.5)

    # The engine is kept full by requests of their own, which are let in first.
    fill = [asyncio.ensure_future(client.post(TRANSCRIBE, files[0], ONE_TRY)) for _ in range(2)]
    while await gauge(client, RUNNING) < 16:  # noqa: ASYNC110 -- no event for it
        await asyncio.sleep(0.1)
    observing = asyncio.ensure_future(observe())
    with probing(service.url, folder) as loaded:
        uploads = sum(await asyncio.gather(*(caller(number) for number in range(UPLOADS))))
    for task in (observing, *fill):
        task.cancel()
    await asyncio.gather(observing, *fill, return_exceptions=True)
    held, running = zip(*observed, strict=True)
    await client.close()
    return {
        "quiet": quiet,
        "loaded": loaded,
        "uploads": uploads,
        "uploads_held": spread(held),
        "windows_running": spread(running),
    }


async def gauges(client: Client, *names: str) -> list[float]:
    text = (await client.get("/metrics")).text
    values = {line.split()[0]: line.split()[-1] for line in text.splitlines()}
    return [float(values[name]) for name in names]


async def gauge(client: Client, name: str) -> float:
    (value,) = await gauges(client, name)
    return value


async def fair(service: RunningService, clips: list[Clip]) -> dict[str, Any]:
    """The clip alone, then beside three hours of the other caller's."""
    other, caller = (Client(service.url, key) for key in KEYS)
    clip = encode(long_speech(clips, CLIP_SECONDS, seed=5), "mp3")

    async def times() -> list[float]:
        taken = []
        for _ in range(CLIPS):
            outcome = await caller.post(TRANSCRIBE, clip, {"language": "en"}, tries=1)
            assert outcome.status == 200, outcome
            taken.append(outcome.seconds)
        return taken

    await times()
    alone = await times()
    file = hours_of_speech(clips, 3)
    asked = asyncio.ensure_future(other.post(TRANSCRIBE, file, ONE_TRY))
    while await gauge(other, "whisper_windows_queued") < 16:
        assert not asked.done(), asked.result()
        await asyncio.sleep(0.2)
    queued, *before = await gauges(other, "whisper_windows_queued", *WINDOWS)
    beside = await times()
    still_queued, *after = await gauges(other, "whisper_windows_queued", *WINDOWS)
    windows, seconds = (end - start for start, end in zip(before, after, strict=True))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    for client in (other, caller):
        await client.close()
    return {
        "file_bytes": len(file),
        "windows_queued": [queued, still_queued],
        "clip_alone": spread(alone),
        "clip_beside": spread(beside),
        # All windows that the engine had meanwhile: the clips' own and the file's.
        "windows_ended_per_clip": round(windows / CLIPS, 1),
        "mean_window_seconds": round(seconds / windows, 3),
    }


async def first(service: RunningService, clips: list[Clip]) -> dict[str, Any]:
    client = Client(service.url, KEYS[0])
    rounds = []
    for number in range(ROUNDS):
        # Another one each time, of whose windows the encoder's output is not known.
        files = [encode(long_speech(clips, 600, 2 * number + odd), "mp3") for odd in (0, 1)]
        streamed = await client.post(TRANSCRIBE, files[0], {**ONE_TRY, "stream": "true"})
        whole = await client.post(TRANSCRIBE, files[1], ONE_TRY)
        assert streamed.first is not None
        rounds.append(
            {
                "first_text": round(streamed.first, 2),
                "stream_whole": round(streamed.seconds, 2),
                "no_stream": round(whole.seconds, 2),
                "first_text_of_stream_whole": round(streamed.first / streamed.seconds, 3),
                "first_text_of_no_stream": round(streamed.first / whole.seconds, 3),
            }
        )
        print(rounds[-1], flush=True)
    await client.close()
    return {"rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["live", "fair", "first"])
    parser.add_argument("--output", type=Path, default=Path("bench-results/promises.json"))
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    english = [clip for clip in load_clips() if clip.language == "en"]
    results: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        started(
            arguments.output.with_suffix(".log"), WHISPER_PROFILE="cpu", WHISPER_MODEL="embedded",
            WHISPER_API_KEYS=",".join(KEYS), WHISPER_MAX_QUEUED_WINDOWS="1200",
        ) as service,
    ):  # fmt: skip
        for what in arguments.what:
            match what:
                case "first":
                    results[what] = asyncio.run(first(service, english))
                case "fair":
                    results[what] = asyncio.run(fair(service, english))
                case "live":
                    results[what] = asyncio.run(live(service, english, Path(scratch)))
                case _:
                    parser.error(f"{what}: one of first, fair, live")
            print(what, json.dumps(results[what], indent=2), flush=True)
            results["load_average"] = os.getloadavg()
            arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    if service.exit_code:
        sys.exit(f"the service ended with {service.exit_code}")


if __name__ == "__main__":
    main()
