"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_UNFINISHED = ".part"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside the target, and gives it its name when it is on the disk.

    Raises:
        OSError: it cannot be written; nothing is left behind, and what was there still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: what that makes, nobody but its owner may ever read.
    unfinished = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Removes what a run that was cut off left of this target."""
    for left in path.parent.glob(f".{_literal(path.name[:100])}.*{_UNFINISHED}"):
        left.unlink(missing_ok=True)


def _literal(name: str) -> str:
    return "".join(f"[{each}]" if each in "[*?" else each for each in name)


def _sync_folder(folder: Path) -> None:
    """The name has to reach the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
