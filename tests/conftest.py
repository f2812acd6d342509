"""What all tests share: the recorded speech of the test package, with what is said in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.samples import samples_folder

INTEGRATION = Path(__file__).parent / "integration"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where no engine is wanted, its tests are not even imported: that takes seconds."""
    if "not engine" in config.option.markexpr and collection_path == INTEGRATION:
        return True
    return None


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
