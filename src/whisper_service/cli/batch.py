"""Many recordings at once, through one service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from whisper_service.cli.atomic import remove_unfinished, write_atomically
from whisper_service.cli.client import RefusedError, ServiceClient, UnavailableError, Wish
from whisper_service.cli.plan import Job
from whisper_service.cli.progress import Reporter, Tally, clock
from whisper_service.cli.texts import render


async def transcribe_all(
    jobs: Sequence[Job],
    client: ServiceClient,
    wish: Wish,
    *,
    at_once: int,
    tally: Tally,
    reporter: Reporter,
) -> None:
    """Every recording's texts, written as soon as they are whole. What fails is in the tally.

    Raises:
        UnavailableError: the service is gone; what was finished stays.
    """
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await _transcribe(job, client, wish, tally, reporter)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(jobs))):
                group.create_task(work())
    except* UnavailableError as errors:
        raise errors.exceptions[0] from None


async def _transcribe(
    job: Job, client: ServiceClient, wish: Wish, tally: Tally, reporter: Reporter
) -> None:
    def heard(seconds: float) -> None:
        tally.under_way[job.source] = seconds
        reporter.heard(job, seconds)

    began = time.monotonic()
    reporter.began(job)
    try:
        with job.source.open("rb") as audio:
            body = await client.transcribe(audio, job.source.name, wish, heard)
        for text_format, path in job.outputs.items():
            content = await asyncio.to_thread(render, body, text_format)
            remove_unfinished(path)
            await asyncio.to_thread(write_atomically, path, content)
    except (RefusedError, OSError) as error:
        tally.failed[job.source] = str(error)
        line = f"failed   {job.source}: {error}"
    else:
        tally.done += 1
        tally.done_seconds += float(body["duration"])
        names = ", ".join(str(path) for path in job.outputs.values())
        took = time.monotonic() - began
        line = f"done     {job.source} -> {names} ({clock(body['duration'])} in {took:.1f} s)"
    tally.under_way.pop(job.source, None)
    tally.done_bytes += job.size
    reporter.ended(job, line)
