"""What is seen of a batch: live on a terminal, one line a file elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from whisper_service.cli.plan import Job


@dataclass
class Tally:
    """What has been done so far."""

    files: int
    bytes: int
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None  # before an engine of our own is stopped
    done: int = 0
    skipped: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    done_bytes: int = 0
    done_seconds: float = 0.0  # of audio
    under_way: dict[Path, float] = field(default_factory=dict)  # seconds of audio heard so far

    @property
    def elapsed(self) -> float:
        return (self.ended or time.monotonic()) - self.began

    @property
    def audio_seconds(self) -> float:
        return self.done_seconds + sum(self.under_way.values())

    @property
    def speed(self) -> float:
        """Seconds of audio a second."""
        return self.audio_seconds / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """By bytes, of which alone it is known how many there are; None: not known yet."""
        if not self.done_bytes:
            return None
        return self.elapsed / self.done_bytes * (self.bytes - self.done_bytes)


class Reporter(Protocol):
    def began(self, job: Job) -> None: ...

    def heard(self, job: Job, seconds: float) -> None: ...

    def ended(self, job: Job, line: str) -> None: ...

    def close(self) -> None: ...


class PlainReporter:
    """A line for every file that is finished."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def began(self, job: Job) -> None: ...

    def heard(self, job: Job, seconds: float) -> None: ...

    def ended(self, job: Job, line: str) -> None:  # noqa: ARG002
        self._console.print(escape(line), style=None)

    def close(self) -> None: ...


class QuietReporter(PlainReporter):
    def ended(self, job: Job, line: str) -> None: ...


class LiveReporter:
    """A bar for the whole, a line for each file under way."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._tally = tally
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            console=console,
            expand=True,
            transient=True,
        )
        self._total = self._progress.add_task("", total=tally.bytes or 1, facts="")
        self._tasks: dict[Path, TaskID] = {}
        self._progress.start()
        self._show()

    def began(self, job: Job) -> None:
        self._tasks[job.source] = self._progress.add_task(
            escape(job.source.name), total=None, facts=""
        )

    def heard(self, job: Job, seconds: float) -> None:
        self._progress.update(self._tasks[job.source], facts=f"heard {clock(seconds)}")
        self._show()

    def ended(self, job: Job, line: str) -> None:
        task = self._tasks.pop(job.source, None)
        if task is not None:
            self._progress.remove_task(task)
        self._progress.console.print(escape(line))
        self._show()

    def close(self) -> None:
        self._progress.stop()

    def _show(self) -> None:
        tally = self._tally
        finished = tally.done + tally.skipped + len(tally.failed)
        left = tally.seconds_left
        facts = [
            f"{clock(tally.audio_seconds)} of audio",
            f"{tally.speed:.1f}×",
            f"{clock(left)} left" if left is not None else "",
        ]
        self._progress.update(
            self._total,
            description=f"{finished} of {tally.files} files",
            completed=tally.done_bytes,
            facts="  ".join(filter(None, facts)),
        )


def clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
