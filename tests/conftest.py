"""What all tests share: the recorded speech of the test package, with what is said in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.samples import samples_folder


@dataclass(frozen=True)
class Clip:
    path: Path
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.language}/{self.path.stem}"


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    """27 short clips in nine languages, by names such as `en/counting`."""
    found = [
        Clip(path, path.parent.name, path.with_suffix(".txt").read_text().strip())
        for path in sorted(samples_folder().glob("*/*.wav"))
    ]
    return {clip.name: clip for clip in found}
