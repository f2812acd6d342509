from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from whisper_service.cli.plan import Format, Job
from whisper_service.cli.progress import LiveReporter, Tally, clock


def test_what_is_left_is_reckoned_by_bytes() -> None:
    tally = Tally(4, 1000)
    assert tally.seconds_left is None
    tally.began -= 10
    tally.done_bytes = 250
    tally.done_seconds = 100
    tally.under_way[Path("x")] = 50
    assert 29 < (tally.seconds_left or 0) < 31
    assert 14 < tally.speed < 16


def test_a_terminal_shows_the_whole_and_each_file() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    job = Job(Path("talk [1].wav"), 500, {Format.TXT: Path("talk.txt")})
    tally = Tally(2, 1000)
    reporter = LiveReporter(console, tally)
    reporter.began(job)
    tally.under_way[job.source] = 61
    reporter.heard(job, 61)
    reporter._progress.refresh()
    tally.under_way.pop(job.source)
    tally.done, tally.done_bytes, tally.done_seconds = 1, 500, 90
    reporter.ended(job, "done     talk [1].wav")
    reporter._progress.refresh()
    reporter.close()
    shown = screen.getvalue()
    for expected in ("talk [1].wav", "heard 1:01", "1 of 2 files", "1:30 of audio", "left"):
        assert expected in shown, expected


def test_times_read_well() -> None:
    assert [clock(each) for each in (0, 61, 3725)] == ["0:00", "1:01", "1:02:05"]
