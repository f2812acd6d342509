"""What a section of the evaluation hands back, and how it is printed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A promise about the service, and what was measured."""

    name: str
    value: float
    limit: float  # the largest value that keeps the promise

    @property
    def kept(self) -> bool:
        return self.value <= self.limit


@dataclass(frozen=True)
class Section:
    title: str
    header: tuple[str, ...]
    rows: list[tuple[object, ...]]
    data: dict[str, Any]  # everything behind the rows, for the JSON file
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as a Markdown table that also reads well in a terminal."""
    cells = [[_cell(value) for value in row] for row in (header, *rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(_padded, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def render(section: Section) -> str:
    parts = [f"## {section.title}", table(section.header, section.rows), "\n".join(section.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_goals(goals: Sequence[Goal]) -> str:
    rows = [(g.name, g.value, g.limit, "kept" if g.kept else "MISSED") for g in goals]
    return f"## Goals\n\n{table(('goal', 'measured', 'at most', ''), rows)}\n"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Columns of a terminal: CJK characters take two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.category(character) == "Mn" for character in text)
