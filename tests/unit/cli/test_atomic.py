from __future__ import annotations

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from whisper_service.cli import atomic
from whisper_service.cli.atomic import remove_unfinished, write_atomically


def test_a_file_is_written_with_its_folder_and_as_others_are(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "text.srt"
    write_atomically(path, b"1\n")
    (tmp_path / "other").write_bytes(b"")
    assert path.read_bytes() == b"1\n"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
    assert [each.name for each in path.parent.iterdir()] == ["text.srt"]


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.srt"
    write_atomically(path, b"old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["text.srt"]


def _killed_before_it_is_named(path: Path) -> None:
    atomic.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    write_atomically(path, b"new")


def test_a_process_that_is_killed_leaves_the_old_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "text [1].srt"
    process = multiprocessing.get_context("spawn").Process(
        target=_killed_before_it_is_named, args=(path,)
    )
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()
    (tmp_path / ".text 1.srt.0.part").write_bytes(b"another's")
    remove_unfinished(path)
    assert [each.name for each in tmp_path.iterdir()] == [".text 1.srt.0.part"]
