"""Each promise of SECURITY.md names a test, and the test is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def promises() -> Iterator[tuple[str, str]]:
    """A promise and what proves it, for each row of the tables."""
    columns = 0
    for line in (ROOT / "SECURITY.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line[:1] == "|" else []
        if not cells:
            columns = 0
        elif "proved by" in cells[-1]:
            columns = len(cells)
        elif columns and not cells[0].startswith("---"):
            yield cells[0], cells[-1]


def named_tests() -> list[tuple[Path, str | None]]:
    """Every file that SECURITY.md names, with the test in it where it names one."""
    named: list[tuple[Path, str | None]] = []
    files: dict[str, Path] = {path.name: path for path in ROOT.glob("tests/**/test_*.py")}
    current: Path | None = None
    for file, test in re.findall(r"`([\w/]*test_\w+\.py)?(?:::(\w+))?`",
                                 (ROOT / "SECURITY.md").read_text()):  # fmt: skip
        if file:
            current = ROOT / file if "/" in file else files.get(file, ROOT / file)
        assert current, f"::{test} follows no file"
        named.append((current, test or None))
    return named


@pytest.mark.parametrize(("path", "test"), named_tests())
def test_a_test_that_is_named_is_there(path: Path, test: str | None) -> None:
    assert path.is_file(), path
    assert test is None or f"def {test}(" in path.read_text(), f"{path.name}::{test}"


def test_every_promise_names_what_proves_it() -> None:
    rows = list(promises())
    assert len(rows) > 25
    for promise, proof in rows:
        assert re.search(r"test_\w+", proof), promise
