"""The command line against the running service, as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.conftest import Clip
from tests.integration.conftest import Server, free_port

COMMAND = [sys.executable, "-m", "whisper_service.cli.app"]
ENDINGS = ("json", "srt", "txt", "vtt")


@pytest.fixture
def recordings(tmp_path: Path, clips: dict[str, Clip]) -> Path:
    """The clips, by language, three times over: enough to be interrupted at."""
    for name, clip in clips.items():
        for turn in range(3):
            target = tmp_path / "recordings" / f"{name}-{turn}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip.path, target)
    return tmp_path / "recordings"


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=300, check=False, **options)


def texts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def whole(folder: Path) -> set[Path]:
    """The recordings, by their texts' names without endings, that have all their texts."""
    stems = Counter(path.with_suffix("") for path in texts(folder) if path.suffix != ".part")
    return {stem for stem, count in stems.items() if count == len(ENDINGS)}


def heed_ctrl_c() -> None:
    """Not ignored, as it is where the tests themselves run in the background of a script."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_cut_off_leaves_whole_texts_and_goes_on(
    server: Server, recordings: Path, tmp_path: Path, how: signal.Signals
) -> None:
    target = tmp_path / "texts"
    arguments = ["transcribe", str(recordings), "-o", str(target), "-f", ",".join(ENDINGS)]
    arguments += ["--url", server.url, "--resume", "-j", "8"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c
    )
    while len(whole(target)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if how is signal.SIGINT else -how), said.decode()

    wanted = len(list(recordings.rglob("*.wav"))) * len(ENDINGS)
    there = [path for path in texts(target) if path.suffix != ".part"]
    assert 0 < len(there) < wanted
    for path in there:
        if path.suffix == ".json":
            assert json.loads(path.read_text())["text"]
        elif path.suffix != ".txt":
            assert path.read_text().endswith("\n")
    before = whole(target)
    stamps = {path: path.stat().st_mtime_ns for path in there}

    done = run(*arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert len(texts(target)) == wanted  # and nothing unfinished
    finished = {path for path in there if path.with_suffix("") in before}
    assert finished
    assert all(path.stat().st_mtime_ns == stamps[path] for path in finished)


def test_a_pipe_gives_the_services_own_subtitles(server: Server, clips: dict[str, Clip]) -> None:
    audio = clips["en/quick_brown_fox"].path.read_bytes()
    done = run("transcribe", "-", "-f", "srt", "--url", server.url, input=audio)
    assert done.returncode == 0, done.stderr.decode()
    answer = httpx.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": audio},
        data={"model": "whisper-1", "response_format": "srt"},
        timeout=300,
    )
    assert done.stdout == answer.content


def test_a_terminal_gets_a_live_display(server: Server, recordings: Path, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    command = [*COMMAND, "transcribe", str(recordings / "en"), "-o", str(tmp_path / "texts")]
    process = subprocess.Popen(
        [*command, "--url", server.url],
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(follower)
    seen = b""
    try:
        while block := os.read(leader, 65536):
            seen += block
    except OSError:
        pass  # so a terminal says that nobody writes to it any more
    os.close(leader)
    assert process.wait(60) == 0
    shown = seen.decode(errors="replace")
    assert "of 9 files" in shown
    assert "of audio" in shown
    assert "\x1b[" in shown
    assert "9 done" in shown


def test_an_engine_that_is_started_for_the_job_is_gone_after_it(
    tmp_path: Path, clips: dict[str, Clip]
) -> None:
    """With a model that is none: it is refused in seconds, and leaves nothing behind."""
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    environment = {**os.environ, "WHISPER_PROFILE": "cpu", "WHISPER_PORT": str(free_port())}
    environment.pop("WHISPER_URL", None)
    done = run(
        "transcribe", clips["en/hello_world"].path, "-o", tmp_path,
        "--model", tmp_path / "bert", env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr.decode()
    assert "not a Whisper" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
