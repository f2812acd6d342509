from __future__ import annotations

from pathlib import Path

import pytest

from whisper_service.cli.plan import Format, UnusableInputError, plan


def files(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    return paths


def texts(folder: Path, named: list[Path], output: Path | None = None) -> list[str]:
    jobs = plan(named, [Format.TXT], output)
    return [str(job.outputs[Format.TXT].relative_to(folder)) for job in jobs]


def test_a_recording_that_is_named_twice_is_done_once(tmp_path: Path) -> None:
    (one,) = files(tmp_path, "one.wav")
    assert texts(tmp_path, [one, tmp_path, one]) == ["one.txt"]


def test_recordings_that_differ_in_their_ending_keep_it(tmp_path: Path) -> None:
    files(tmp_path, "talk.mp3", "talk.wav", "a.b.wav")
    assert texts(tmp_path, [tmp_path]) == ["a.b.txt", "talk.mp3.txt", "talk.wav.txt"]


def test_a_file_that_is_named_is_taken_whatever_its_name(tmp_path: Path) -> None:
    assert texts(tmp_path, files(tmp_path, "sound")) == ["sound.txt"]


def test_a_text_never_takes_a_recordings_place(tmp_path: Path) -> None:
    named = files(tmp_path, "sound.txt")
    with pytest.raises(UnusableInputError, match="overwrite"):
        plan(named, [Format.TXT], None)
    assert plan(named, [Format.SRT], None)


def test_two_recordings_never_share_a_text(tmp_path: Path) -> None:
    named = files(tmp_path, "a/talk.wav", "b/talk.wav")
    with pytest.raises(UnusableInputError, match="would both be"):
        plan(named, [Format.TXT], tmp_path / "texts")
    assert texts(tmp_path, named) == ["a/talk.txt", "b/talk.txt"]
