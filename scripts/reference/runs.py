"""Has both sides answer the cases, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reference.answers import Answers, read_answers
from reference.cases import Cases
from reference.environment import environment
from whisper_service.checkpoints.embedded import prepare
from whisper_service.settings import load_settings

_HERE = Path(__file__).parent
_SECONDS = 3_600  # for either, at most


class RunFailedError(RuntimeError):
    """One of the two ended without answers."""


def answer(cases: Cases, folder: Path) -> tuple[Answers, Answers]:
    """openai/whisper's answers and the service's.

    The two run one after the other: each uses all cores.

    Args:
        cases: what is asked.
        folder: an empty folder for what they are given and what they write.

    Raises:
        RunFailedError: one of them failed; what it wrote to its standard error is the message.
    """
    cases.write(folder)
    checkpoint = prepare("embedded", load_settings().cache_dir)
    scripts = os.pathsep.join(
        path for path in (str(_HERE.parent), os.environ.get("PYTHONPATH", "")) if path
    )
    _run("run_openai.py", environment(), str(folder), str(checkpoint))
    _run("run_service.py", {**os.environ, "PYTHONPATH": scripts}, str(folder))
    return read_answers(folder / "openai"), read_answers(folder / "service")


def _run(script: str, environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, str(_HERE / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise RunFailedError(f"{script} failed:\n{done.stderr[-4_000:]}")
