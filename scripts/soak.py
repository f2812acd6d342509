"""Everything that clients do, good and bad, all at once for a number of minutes.

Starts the service with three keys and a short queue (or takes one that runs: `--url`, `--key`), and
has clients send clips and long files in six formats and nine languages, streams, damaged and
hostile files, wrong requests, slow uploads, hang-ups and, every minute, a burst of several
times the queue's length. Reports what was answered otherwise than it should, latencies, what
`/health/live` took meanwhile, and the memory of each process over time; as JSON in `--output`.

Ends with 1 where an answer was wrong, a check afterwards fails, or the service did not end with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from reliability.figures import course, spread
from reliability.liveness import probing
from reliability.media import load_clips
from reliability.requests import Client, Outcome, WrongAnswerError
from reliability.service import Memory, started
from reliability.traffic import Kind, Traffic

KEYS = ("soak-key-of-the-first-caller", "soak-key-of-the-second-caller", "soak-key-of-the-third")
QUEUED = 32  # windows that may wait: short, so that bursts are refused
BURST_SECONDS, BURST = 60.0, 100
PATIENCE = 300.0  # seconds, for answers after the end
SAMPLE_SECONDS = 5.0
SETTLE_SHARE = 0.15  # of the time, until memory's course counts: caches fill, buffers grow
HELD = (
    "whisper_windows_running", "whisper_windows_queued", "whisper_windows_accepted",
    "whisper_uploads_held",
)  # fmt: skip


@dataclass
class Tally:
    """What came of the requests."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    first: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    retries: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def note(self, kind: str, expected: frozenset[int], outcome: Outcome) -> None:
        self.statuses[kind][_label(outcome)] += 1
        self.retries[kind] += outcome.retries
        if outcome.status not in expected or (outcome.status == httpx.codes.OK and outcome.code):
            self.complain(kind, f"{_label(outcome)}: {outcome.message}")
        elif not outcome.retries:  # else it is mostly the time that it was told to wait
            self.seconds[kind].append(outcome.seconds)
            if outcome.first is not None:
                self.first[kind].append(outcome.first)

    def complain(self, kind: str, what: str) -> None:
        self.wrong.append({"kind": kind, "what": what, "at": time.strftime("%X")})
        print(f"    wrong: {kind}: {what}", flush=True)


def _label(outcome: Outcome) -> str:
    return f"{outcome.status} {outcome.code}" if outcome.code else str(outcome.status)


async def client_of(
    traffic: Traffic, client: Client, tally: Tally, chance: random.Random, until: float
) -> None:
    """One caller's connection: a thing after the other."""
    weights = [kind.weight for kind in traffic.kinds]
    while time.monotonic() < until:
        (kind,) = chance.choices(traffic.kinds, weights)
        await do(kind, client, tally, chance)
        await asyncio.sleep(chance.expovariate(2))


async def do(kind: Kind, client: Client, tally: Tally, chance: random.Random) -> None:
    try:
        outcome = await kind.act(client, chance)
    except WrongAnswerError as error:
        tally.complain(kind.name, str(error))
    except (httpx.HTTPError, OSError, ValueError, LookupError) as error:
        tally.complain(kind.name, repr(error))
    else:
        if outcome is None:
            tally.statuses[kind.name]["hung up"] += 1
        else:
            tally.note(kind.name, kind.expected, outcome)


async def bursts(traffic: Traffic, clients: list[Client], tally: Tally, until: float) -> None:
    turn = 0
    while time.monotonic() + BURST_SECONDS < until:
        await asyncio.sleep(BURST_SECONDS)
        turn += 1
        for outcome in await traffic.burst(clients[turn % len(clients)], BURST):
            tally.note("burst", frozenset({200, 429}), outcome)


async def sample(memory: Memory, until: float) -> None:
    while time.monotonic() < until:
        await asyncio.to_thread(memory.sample)
        await asyncio.sleep(SAMPLE_SECONDS)


async def run(
    url: str, keys: list[str | None], memory: Memory | None, arguments: argparse.Namespace
) -> tuple[Tally, float | None]:
    """The load. Returns what came of it, and after how many seconds nothing was held any more."""
    traffic = Traffic(load_clips(), arguments.seed)
    tally = Tally()
    clients = [Client(url, key) for key in keys]
    print(f"==> {arguments.clients} clients for {arguments.minutes:g} minutes", flush=True)
    until = time.monotonic() + 60 * arguments.minutes
    tasks = [
        client_of(
            traffic, clients[number % len(clients)], tally,
            random.Random(f"{arguments.seed} {number}"), until,
        )
        for number in range(arguments.clients)
    ]  # fmt: skip
    tasks += [bursts(traffic, clients, tally, until), report(tally, until)]
    if memory:
        tasks.append(sample(memory, until))
    try:
        async with asyncio.timeout(60 * arguments.minutes + PATIENCE):
            await asyncio.gather(*tasks)
    except TimeoutError:
        tally.complain("all", f"not answered {PATIENCE:g} s after the end")
    freed = await freed_after(clients[0])
    if memory:
        await asyncio.to_thread(memory.sample)
    for client in clients:
        await client.close()
    return tally, freed


async def report(tally: Tally, until: float) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(min(60.0, max(1.0, until - time.monotonic())))
        done = sum(map(Counter.total, tally.statuses.values()))
        left = max(0.0, until - time.monotonic()) / 60
        print(f"    {done} requests, {len(tally.wrong)} wrong, {left:.1f} minutes left", flush=True)


async def freed_after(client: Client) -> float | None:
    """Seconds until the service holds nothing any more, after the last answer; None: not in 30."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        text = (await client.get("/metrics")).text
        lines = [line.split() for line in text.splitlines()]
        if not any(float(line[1]) for line in lines if line[0] in HELD):
            return round(time.monotonic() - began, 3)
        await asyncio.sleep(0.05)
    return None


def summary(
    tally: Tally, memory: Memory | None, minutes: float, health: dict[str, Any]
) -> dict[str, Any]:
    statuses = {kind: dict(counts.most_common()) for kind, counts in sorted(tally.statuses.items())}
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors",
        "minutes": minutes,
        "requests": sum(map(Counter.total, tally.statuses.values())),
        "statuses": statuses,
        "retries_after_429": dict(tally.retries),
        "wrong": tally.wrong,
        "seconds": {kind: spread(values) for kind, values in sorted(tally.seconds.items())},
        "seconds_to_first_text": {kind: spread(v) for kind, v in sorted(tally.first.items())},
        "health_live": health,
        "memory_mib": {
            kind: {"processes": memory.processes[kind]}
            | course(memory.minutes, values, minutes * SETTLE_SHARE)
            for kind, values in memory.mib.items()
        }
        if memory
        else {},
        "memory_over_time": {"minutes": memory.minutes, **memory.mib} if memory else {},
    }


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['requests']} requests in {result['minutes']:g} minutes")
    for kind, counts in result["statuses"].items():
        seconds = result["seconds"].get(kind, {})
        times = "  ".join(f"{name} {value}" for name, value in seconds.items() if name != "count")
        print(f"  {kind:20} {counts}  {times}")
    print(f"  /health/live         {result['health_live']}")
    for kind, figures in result["memory_mib"].items():
        print(f"  {kind:20} {figures}")
    print(f"  {len(result['wrong'])} wrong; checks: {result['checks']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="of a service that runs; else one is started")
    parser.add_argument(
        "--key", action="append", help="of that service; may be given more than once"
    )
    parser.add_argument("--output", type=Path, default=Path("bench-results/soak.json"))
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    checks: dict[str, Any] = {}
    service = None
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        url, keys, memory = arguments.url, arguments.key or [None], None
        if url is None:
            log = arguments.output.with_suffix(".log")
            service = stack.enter_context(
                started(
                    log, WHISPER_PROFILE="cpu", WHISPER_MODEL="embedded",
                    WHISPER_API_KEYS=",".join(KEYS), WHISPER_MAX_QUEUED_WINDOWS=str(QUEUED),
                )
            )  # fmt: skip
            assert service.process
            url, keys, memory = service.url, list(KEYS), Memory(service.process.pid)
        with probing(url, folder, every=0.1) as health:
            tally, checks["freed_after_seconds"] = asyncio.run(run(url, keys, memory, arguments))
    if service and service.log:
        checks["exit_code"] = service.exit_code
        checks["tracebacks"] = service.log.read_text(errors="replace").count("Traceback")
    result = summary(tally, memory, arguments.minutes, health) | {"checks": checks}
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    show(result)
    sound = not tally.wrong and checks["freed_after_seconds"] is not None
    sys.exit(0 if sound and not checks.get("exit_code") and not checks.get("tracebacks") else 1)


if __name__ == "__main__":
    main()
