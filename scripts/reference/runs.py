"""Has both sides answer the cases, each in a process of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from install import ROOT
from reference.answers import Answers, read_answers
from reference.cases import Cases
from reference.environment import environment
from whisper_service.checkpoints.embedded import prepare
from whisper_service.settings import load_settings

_HERE = Path(__file__).parent
_SECONDS = 3_600  # for either, at most
_KEPT = ROOT / "build" / "reference-answers"  # openai/whisper's
# What its answers depend on, besides the cases and the weights.
_CODE = (
    "scripts/reference/run_openai.py",
    "scripts/reference/answers.py",
    "scripts/reference/cases.py",
    "scripts/benchmark/openai_weights.py",
    "requirements/reference.txt",
)


class RunFailedError(RuntimeError):
    """One of the two ended without answers."""


def answer(cases: Cases, folder: Path) -> tuple[Answers, Answers]:
    """openai/whisper's answers and the service's.

    openai/whisper's are kept in build/: they change with the cases, the weights and its version.

    Args:
        cases: what is asked.
        folder: an empty folder for what the two are given.

    Raises:
        RunFailedError: one of them failed; what it wrote to its standard error is the message.
    """
    given = folder / "cases"
    given.mkdir()
    cases.write(given)
    checkpoint = prepare("embedded", load_settings().cache_dir)
    code = (ROOT / name for name in _CODE)
    weights = checkpoint / "manifest.json"
    openai = _KEPT / _digest([*sorted(given.iterdir()), *code, weights])
    if not openai.is_dir():
        _KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_KEPT) as scratch:
            made = Path(scratch, "openai")
            _run("run_openai.py", environment(), given, checkpoint, made)
            made.rename(openai)
    _run("run_service.py", _with_scripts(), given, folder / "service")
    return read_answers(openai), read_answers(folder / "service")


def _digest(files: Iterable[Path]) -> str:
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _with_scripts() -> dict[str, str]:
    paths = [str(_HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _run(script: str, environment: dict[str, str], *arguments: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(_HERE / script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise RunFailedError(f"{script} failed:\n{done.stderr[-4_000:]}")
