"""The README's own examples, as printed, against the running service."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Clip
from tests.integration.conftest import Server

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, clips: dict[str, Clip]) -> Path:
    shutil.copy(clips["en/quick_brown_fox"].path, tmp_path / "speech.wav")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_curl_line_prints_subtitles(server: Server, folder: Path) -> None:
    (line,) = blocks("bash")
    printed = run(["bash", "-c", line.replace("http://127.0.0.1:8000", server.url)], folder)
    assert re.match(r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\n", printed)
    assert "fox" in printed


def test_the_sdk_snippet_prints_segments(server: Server, folder: Path) -> None:
    (snippet,) = blocks("python")
    snippet = snippet.replace("http://127.0.0.1:8000", server.url)
    printed = run([sys.executable, "-c", snippet], folder)
    assert printed.startswith("english 2.8")
    assert "lazy dog" in printed


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"make (\w+)", README.read_text()))
    makefile = (README.parent / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
