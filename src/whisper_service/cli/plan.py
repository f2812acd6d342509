"""From what stands on the command line to files, and where their texts go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

# What is taken out of a folder; a file that is named is taken whatever its name.
AUDIO_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        "aac", "flac", "m4a", "m4b", "mkv", "mov", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg",
        "opus", "wav", "webm",
    )
)  # fmt: skip


class Format(StrEnum):
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


class UnusableInputError(ValueError):
    """What was named is not there, or would be overwritten by its own text."""


@dataclass(frozen=True)
class Job:
    source: Path
    size: int  # bytes
    outputs: dict[Format, Path]

    @property
    def is_done(self) -> bool:
        """Whether every text is there, and none is older than its recording."""
        made = self.source.stat().st_mtime
        return all(
            path.is_file() and path.stat().st_mtime >= made for path in self.outputs.values()
        )


def plan(named: Sequence[Path], formats: Iterable[Format], output_dir: Path | None) -> list[Job]:
    """A job for each recording, once, in the order in which they were named.

    A folder gives the recordings below it, by their names' order; with an output folder its
    subfolders are kept. Two recordings that differ in their ending only keep it in their texts'
    names.

    Raises:
        UnusableInputError: something is not there, or a text would take a recording's place.
    """
    found: dict[Path, Path] = {}  # the recording: its place below the output folder
    for path in named:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if _is_recording(file.relative_to(path)) and file.is_file():
                    found.setdefault(file, file.relative_to(path))
        elif path.exists():
            found.setdefault(path, Path(path.name))
        else:
            raise UnusableInputError(f"{path} does not exist")

    targets = {
        source: (output_dir / place if output_dir else source) for source, place in found.items()
    }
    names = Counter(target.with_suffix("") for target in targets.values())
    taken = {source.resolve(): source for source in found}
    jobs = []
    for source, target in targets.items():
        clashes = names[target.with_suffix("")] > 1
        stem = target.name if clashes else target.stem
        outputs = {each: target.with_name(f"{stem}.{each}") for each in formats}
        for output in outputs.values():
            other = taken.setdefault(output.resolve(), source)
            if output.resolve() == other.resolve():
                raise UnusableInputError(f"the text of {source} would overwrite {other}")
            if other is not source:
                raise UnusableInputError(
                    f"the texts of {other} and {source} would both be {output}: "
                    "transcribe them one after the other, to different folders"
                )
        jobs.append(Job(source, source.stat().st_size, outputs))
    return jobs


def _is_recording(place: Path) -> bool:
    hidden = any(part.startswith(".") for part in place.parts)
    return not hidden and place.suffix.lower() in AUDIO_SUFFIXES
