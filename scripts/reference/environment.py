"""openai-whisper in a folder of its own, on top of the project's environment.

It needs torch, NumPy, Numba, tiktoken, more-itertools and tqdm, in versions that the project has
locked. So only the package itself is installed; PYTHONPATH puts it in reach of one subprocess.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from install import ROOT, pip, say

_LOCK = ROOT / "requirements" / "reference.txt"
_BUILD = ROOT / "build"


def environment() -> dict[str, str]:
    """The environment variables with which `import whisper` finds openai/whisper."""
    paths = [str(_installed()), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _installed() -> Path:
    """The folder with the locked package; installed on first use and when the lock changes."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    folder = _BUILD / f"reference-{digest[:12]}"
    if folder.is_dir():
        return folder
    say("installing openai-whisper")
    _BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_BUILD) as scratch:
        made = Path(scratch, "packages")
        # It is published as a source archive: it is built with the locked setuptools.
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--require-hashes")
        if not pip("install", *options, "--target", str(made), "-r", str(_LOCK)):
            sys.exit("\nCould not install the package of requirements/reference.txt.")
        made.rename(folder)
    return folder
