"""`whisper-service bench`: how fast a service is, with a recording of yours."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from whisper_service.cli.client import RefusedError, ServiceClient, UnavailableError, Wish
from whisper_service.cli.console import ExitCode, err, give_up, out
from whisper_service.cli.transcribe import ApiKey, Model, Url, service

BENCH_HELP = """
Measure how fast a service is, with a recording of yours.

Each round sends as many requests at once as it says, and waits for all of them. The encoder's
output is kept by the service for retries, so it knows the recording again: start it with
WHISPER_ENCODER_CACHE_WINDOWS=0 for figures that hold for recordings that differ. An engine
that is started for this has it so.

[bold]Examples[/]

whisper-service bench talk.wav

whisper-service bench talk.wav --url http://gpu:8000 --in-flight 1,16,64
"""

_Once = Callable[[], Coroutine[Any, Any, tuple[float, float]]]  # its seconds, and its audio's


@dataclass(frozen=True)
class Load:
    """What one number of requests in flight gave; the median round."""

    in_flight: int
    rtfx: float  # seconds of audio a second, all requests together
    requests: int
    median_seconds: float  # of a request
    p95_seconds: float


def bench(
    recording: Annotated[
        Path, typer.Argument(help="Sent again and again.", exists=True, dir_okay=False)
    ],
    in_flight: Annotated[
        str, typer.Option(help="Requests at once, several by commas.", metavar="NUMBERS")
    ] = "1,4,16",
    rounds: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 3,
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    loads = _numbers(in_flight)
    try:
        with service(url, api_key, model, WHISPER_ENCODER_CACHE_WINDOWS="0") as access:
            results = asyncio.run(
                _measure(access.url, access.key, recording.read_bytes(), loads, rounds)
            )
    except UnavailableError as error:
        raise give_up(str(error), ExitCode.UNAVAILABLE) from None
    except RefusedError as error:
        raise give_up(str(error), ExitCode.FAILED) from None
    except KeyboardInterrupt:
        raise give_up("interrupted", ExitCode.INTERRUPTED) from None
    if as_json:
        out.print_json(json.dumps([asdict(each) for each in results]))
        return
    table = Table("in flight", "RTFx", "median", "95 %", box=None, pad_edge=False)
    for each in results:
        table.add_row(
            str(each.in_flight), f"{each.rtfx:.1f}", f"{each.median_seconds:.2f} s",
            f"{each.p95_seconds:.2f} s",
        )  # fmt: skip
    out.print(table)


def _numbers(given: str) -> list[int]:
    try:
        numbers = [int(each) for each in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter("takes numbers from 1 on, by commas", param_hint="--in-flight")
    return numbers


async def _measure(url: str, key: str, audio: bytes, loads: list[int], rounds: int) -> list[Load]:
    async with ServiceClient(url, key) as client:
        await client.connect()

        async def once() -> tuple[float, float]:
            began = time.perf_counter()
            body = await client.transcribe(BytesIO(audio), "bench", Wish(), lambda _: None)
            return time.perf_counter() - began, float(body["duration"])

        await once()  # whatever happens only once
        results = []
        for load in loads:
            with err.status(f"{load} in flight"):
                measured = [await _round(once, load) for _ in range(rounds)]
            took = sorted(seconds for _, each in measured for seconds in each)
            results.append(
                Load(
                    in_flight=load,
                    rtfx=statistics.median(rtfx for rtfx, _ in measured),
                    requests=len(took),
                    median_seconds=statistics.median(took),
                    p95_seconds=took[math.ceil(0.95 * len(took)) - 1],
                )
            )
        return results


async def _round(once: _Once, load: int) -> tuple[float, list[float]]:
    began = time.perf_counter()
    answers = await asyncio.gather(*(once() for _ in range(load)))
    elapsed = time.perf_counter() - began
    return sum(audio for _, audio in answers) / elapsed, [seconds for seconds, _ in answers]
