"""What was measured, and the ratios that are told of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Measured:
    """One peer at one work: the seconds of each round, and of audio in each round."""

    work: str
    peer: str
    audio_seconds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    windows: int = 0

    @property
    def rates(self) -> list[float]:
        """Real-time factors: seconds of audio a second, of each round."""
        return [a / s for a, s in zip(self.audio_seconds, self.seconds, strict=True)]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@dataclass
class Results:
    machine: dict[str, Any] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    def of(self, work: str, peer: str) -> Measured | None:
        return next((m for m in self.measured if (m.work, m.peer) == (work, peer)), None)

    def add(self, work: str, peer: str, audio: float, seconds: float, windows: int = 0) -> None:
        found = self.of(work, peer)
        if found is None:
            found = Measured(work, peer)
            self.measured.append(found)
        found.audio_seconds.append(audio)
        found.seconds.append(seconds)
        found.windows = windows

    def ratio(self, work: str, peer: str, other: str, *, other_work: str = "") -> Ratio | None:
        """How many times as fast `peer` is as `other`, round by round."""
        ours, theirs = self.of(work, peer), self.of(other_work or work, other)
        if ours is None or theirs is None or not ours.seconds or not theirs.seconds:
            return None
        each = [mine / its for mine, its in zip(ours.rates, theirs.rates, strict=False)]
        return Ratio(ours.rate / theirs.rate, min(each), max(each), len(each))

    def save(self, path: Path, goals: Sequence[Verdict]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {**asdict(self), "goals": [asdict(each) for each in goals]}
        path.write_text(json.dumps(content, indent=1, default=str) + "\n")


@dataclass(frozen=True)
class Ratio:
    """Of the medians; least and greatest of the single rounds."""

    value: float
    least: float
    greatest: float
    rounds: int

    def __str__(self) -> str:
        spread = f" ({self.least:.2f} to {self.greatest:.2f})" if self.rounds > 1 else ""
        return f"{self.value:.2f}{spread}"


@dataclass(frozen=True)
class Goal:
    name: str
    wanted: float
    at_least: bool
    measure: Callable[[Results], Ratio | float | None]
    unit: str = ""

    def judge(self, results: Results) -> Verdict:
        found = self.measure(results)
        sign = "≥" if self.at_least else "≤"
        wanted = f"{sign} {self.wanted:g}{self.unit}"
        if found is None:
            return Verdict(self.name, wanted, "not measured", None, kept=None)
        value = found.value if isinstance(found, Ratio) else found
        kept = value >= self.wanted if self.at_least else value <= self.wanted
        shown = str(found) if isinstance(found, Ratio) else f"{found:.2f}{self.unit}"
        return Verdict(self.name, wanted, shown, value, kept)


def at_least(
    wanted: float, name: str, measure: Callable[[Results], Ratio | float | None], unit: str = ""
) -> Goal:
    return Goal(name, wanted, at_least=True, measure=measure, unit=unit)


def at_most(
    wanted: float, name: str, measure: Callable[[Results], Ratio | float | None], unit: str = ""
) -> Goal:
    return Goal(name, wanted, at_least=False, measure=measure, unit=unit)


@dataclass(frozen=True)
class Verdict:
    name: str
    wanted: str
    measured: str
    value: float | None
    kept: bool | None

    @property
    def is_ratio(self) -> bool:
        """Whether it has no unit, and so can be compared between machines."""
        return not self.wanted.endswith(" s")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose columns line up in a terminal as well."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def goal_table(verdicts: Sequence[Verdict]) -> str:
    words = {True: "kept", False: "missed", None: "not measured"}
    rows = [(v.name, v.wanted, v.measured, words[v.kept]) for v in verdicts]
    return table(("figure", "goal", "measured", "verdict"), rows)


def rate_table(results: Results, ours: str) -> str:
    """Every work and peer: the real-time factor, its spread, and how much faster `ours` is."""
    rows = []
    for each in results.measured:
        ratio = results.ratio(each.work, ours, each.peer) if each.peer != ours else None
        rows.append(
            (
                each.work,
                each.peer,
                f"{each.rate:.1f}",
                f"{min(each.rates):.1f} to {max(each.rates):.1f}",
                str(ratio) if ratio else "",
            )
        )
    return table(("work", "transcriber", "RTFx", "rounds", f"{ours} is faster by"), rows)


def guard(baseline: Mapping[str, float], verdicts: Sequence[Verdict], slack: float) -> list[str]:
    """What has got worse: ratios against those of a baseline, never times.

    Args:
        baseline: by a goal's name: its ratio then.
        verdicts: of now.
        slack: the share by which a ratio may be worse, for a machine's noise.
    """
    worse = []
    for verdict in verdicts:
        before = baseline.get(verdict.name)
        if before is None or verdict.value is None or not verdict.is_ratio:
            continue
        more_is_better = verdict.wanted.startswith("≥")
        bound = before * (1 - slack) if more_is_better else before * (1 + slack)
        if verdict.value < bound if more_is_better else verdict.value > bound:
            worse.append(f"{verdict.name}: {verdict.value:.2f}, was {before:.2f}")
    return worse
