"""`whisper-service transcribe`: files, folders or standard input to text."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.markup import escape

from whisper_service.cli.client import RefusedError, ServiceClient, UnavailableError, Wish
from whisper_service.cli.console import ExitCode, err, give_up
from whisper_service.cli.own_service import Access, own_service
from whisper_service.cli.plan import Format, Job, UnusableInputError, plan
from whisper_service.cli.progress import (
    LiveReporter,
    PlainReporter,
    QuietReporter,
    Reporter,
    Tally,
    clock,
)

STDIN = Path("-")

TRANSCRIBE_HELP = """
Transcribe recordings, or all recordings of folders.

Each text is written beside its recording, or into --output-dir, and is there whole or not at
all. With --resume what is done already is skipped. Without --url an engine is started for the
job, which takes its time; the settings' variables count for it.

[bold]Examples[/]

whisper-service transcribe talk.mp3

whisper-service transcribe recordings/ -f srt,txt -o texts/ --resume

whisper-service transcribe --url http://127.0.0.1:8000 *.wav -j 16

ffmpeg -i film.mkv -f wav - | whisper-service transcribe - -f srt > film.srt
"""


class Task(StrEnum):
    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="WHISPER_URL",
        help="A running service. Without it, one is started.",
        metavar="URL",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="WHISPER_API_KEY", help="Its key; better given by the variable."),
]
Model = Annotated[
    str | None,
    typer.Option(help="Of the engine that is started: `embedded`, a folder, or a hub id."),
]


def transcribe(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings, folders of them, or - for standard input.", metavar="PATH…"
        ),
    ],
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            help="txt, srt, vtt or json (verbose_json: segments and times); several by commas.",
            metavar="FORMAT",
        ),
    ] = ["txt"],  # noqa: B006 -- Typer copies it
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Where texts go. Default: beside recordings."),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Such as en. Default: found out.")
    ] = None,
    task: Annotated[Task, typer.Option(help="translate: into English.")] = Task.TRANSCRIBE,
    prompt: Annotated[
        str | None, typer.Option(help="Names and spellings that the recordings may have.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="With each word's time, where the service has them.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip recordings whose texts are there already.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=256, help="Recordings at once.")
    ] = 4,
    model: Model = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but failures.")] = False,
) -> None:
    wish = Wish(task.value, language, prompt, words)
    wanted = _formats(formats)
    if STDIN in inputs:
        if len(inputs) > 1:
            raise typer.BadParameter("- cannot be mixed with files", param_hint="PATH…")
        if output_dir is None and len(wanted) > 1:
            raise typer.BadParameter(
                "standard output takes one format: add --output-dir", param_hint="--format"
            )
    try:
        planned = [] if STDIN in inputs else plan(inputs, wanted, output_dir)
    except (UnusableInputError, OSError) as error:
        raise give_up(str(error), ExitCode.USAGE) from None

    code = ExitCode.OK
    try:
        if STDIN in inputs:
            _pipe(wish, wanted, output_dir, url, api_key, model)
        else:
            code = _batch(planned, wish, jobs, resume, quiet, url, api_key, model)
    except UnavailableError as error:
        raise give_up(str(error), ExitCode.UNAVAILABLE) from None
    except RefusedError as error:
        raise give_up(str(error), ExitCode.FAILED) from None
    except KeyboardInterrupt:
        raise give_up("interrupted; --resume goes on from here", ExitCode.INTERRUPTED) from None
    raise typer.Exit(code)


def _formats(given: Sequence[str]) -> list[Format]:
    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    try:
        return list(dict.fromkeys(Format("txt" if name == "text" else name) for name in names))
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}: there are {', '.join(Format)}", param_hint="--format"
        ) from None


@contextmanager
def service(
    url: str | None, key: str | None, model: str | None, **settings: str
) -> Iterator[Access]:
    """The service that is running, or one of our own for as long as this lasts."""
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{url!r} has no http:// or https://", param_hint="--url")
        yield Access(url, key or "")
        return
    with own_service(settings | ({"WHISPER_MODEL": model} if model else {})) as access:
        yield access


def _pipe(
    wish: Wish,
    formats: Sequence[Format],
    output_dir: Path | None,
    url: str | None,
    key: str | None,
    model: str | None,
) -> None:
    from whisper_service.cli.atomic import write_atomically
    from whisper_service.cli.texts import render

    with tempfile.TemporaryFile() as audio:
        while block := sys.stdin.buffer.read(1 << 20):
            audio.write(block)
        if not audio.tell():
            raise RefusedError("standard input is empty")
        with service(url, key, model) as access:
            body = asyncio.run(_ask_once(access, audio, wish))
    for each in formats:
        content = render(body, each)
        if output_dir is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            write_atomically(output_dir / f"stdin.{each}", content)


async def _ask_once(access: Access, audio: BinaryIO, wish: Wish) -> dict[str, object]:
    async with ServiceClient(access.url, access.key) as client:
        await client.connect()
        return await client.transcribe(audio, "stdin", wish, lambda _: None)


def _batch(
    planned: Sequence[Job],
    wish: Wish,
    at_once: int,
    resume: bool,
    quiet: bool,
    url: str | None,
    key: str | None,
    model: str | None,
) -> ExitCode:
    left = [job for job in planned if not (resume and job.is_done)]
    tally = Tally(len(planned), sum(job.size for job in left), skipped=len(planned) - len(left))
    if not planned:
        raise give_up("there is no recording in what was named", ExitCode.USAGE)
    try:
        if left:
            with service(url, key, model) as access:
                asyncio.run(_run(left, access, wish, at_once, tally, quiet))
    finally:
        _summarise(tally, quiet)
    return ExitCode.FAILED if tally.failed else ExitCode.OK


async def _run(
    left: Sequence[Job], access: Access, wish: Wish, at_once: int, tally: Tally, quiet: bool
) -> None:
    from whisper_service.cli.batch import transcribe_all  # brings NumPy with it

    async with ServiceClient(access.url, access.key) as client:
        await client.connect()
        tally.began = time.monotonic()  # the engine's start is no part of the speed
        reporter = _reporter(tally, quiet)
        try:
            await transcribe_all(
                left, client, wish, at_once=at_once, tally=tally, reporter=reporter
            )
        finally:
            tally.ended = time.monotonic()
            reporter.close()


def _reporter(tally: Tally, quiet: bool) -> Reporter:
    if quiet:
        return QuietReporter(err)
    return LiveReporter(err, tally) if err.is_terminal else PlainReporter(err)


def _summarise(tally: Tally, quiet: bool) -> None:
    for source, reason in tally.failed.items() if quiet else ():
        err.print(escape(f"failed   {source}: {reason}"))
    if quiet:
        return
    missing = tally.files - tally.done - tally.skipped - len(tally.failed)
    counts = {
        "done": tally.done, "skipped": tally.skipped, "failed": len(tally.failed),
        "not begun": missing,
    }  # fmt: skip
    line = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if tally.done:
        line += (
            f"; {clock(tally.done_seconds)} of audio in {clock(tally.elapsed)}, "
            f"{tally.speed:.1f} times as fast as it plays"
        )
    err.print(escape(line))
    if tally.failed and len(tally.failed) > 1:
        err.print("Failed:")
        for source, reason in tally.failed.items():
            err.print(escape(f"  {source}: {reason}"))
