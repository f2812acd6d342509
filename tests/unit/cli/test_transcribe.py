from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.unit.api.conftest import Double
from tests.unit.cli.conftest import Command, Running
from whisper_service.api.keys import KeyRing
from whisper_service.domain import Task
from whisper_service.errors import Fault, ServiceError
from whisper_service.formats.events import EventWriter, TranscriptTextDelta

ALL = ("-f", "txt,srt,vtt,json")


def written(folder: Path) -> set[str]:
    kinds = (".txt", ".srt", ".vtt", ".json", ".part")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in kinds}


def test_every_format_is_what_the_service_itself_would_have_said(
    command: Command, service: Running, recordings: Path
) -> None:
    source = recordings / "one.wav"
    result = command("transcribe", source, "--url", service.url, *ALL)
    assert result.exit_code == 0, result.stderr
    assert len(service.transcriber.asked) == 1  # one transcription for all of them
    for ending, response_format in (("txt", "text"), ("srt", "srt"), ("vtt", "vtt")):
        answer = httpx.post(
            f"{service.url}/v1/audio/transcriptions",
            files={"file": source.read_bytes()},
            data={"model": "whisper-1", "response_format": response_format},
        )
        assert source.with_suffix(f".{ending}").read_bytes() == answer.content
    answer = httpx.post(
        f"{service.url}/v1/audio/transcriptions",
        files={"file": source.read_bytes()},
        data={"model": "whisper-1", "response_format": "verbose_json"},
    )
    assert json.loads(source.with_suffix(".json").read_text()) == answer.json()


def test_a_folders_recordings_keep_their_places(
    command: Command, service: Running, recordings: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    result = command("transcribe", recordings, "--url", service.url, "-o", texts)
    assert result.exit_code == 0, result.stderr
    assert written(texts) == {"one.txt", "two.txt", "older/three.txt"}
    assert written(recordings) == set()
    assert "3 done" in result.stderr
    assert result.stdout == ""


def test_plain_lines_are_plain(command: Command, service: Running, recordings: Path) -> None:
    result = command("transcribe", recordings, "--url", service.url)
    lines = result.stderr.splitlines()
    assert "\x1b" not in result.stderr
    assert sum(line.startswith("done     ") for line in lines) == 3
    assert len(lines) == 4


def test_quiet_says_nothing_of_what_went_well(
    command: Command, service: Running, recordings: Path
) -> None:
    result = command("transcribe", recordings, "--url", service.url, "-q")
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", "")


def test_resume_skips_what_is_done_and_nothing_else(
    command: Command, service: Running, recordings: Path
) -> None:
    def again(*options: str) -> int:
        service.transcriber.asked.clear()
        result = command("transcribe", recordings, "--url", service.url, "--resume", *options)
        assert result.exit_code == 0, result.stderr
        return len(service.transcriber.asked)

    assert again() == 3
    assert again() == 0
    assert again("-f", "txt,srt") == 3  # another format is wanted
    (recordings / "one.srt").unlink()
    assert again("-f", "txt,srt") == 1
    later = (recordings / "one.txt").stat().st_mtime + 10
    os.utime(recordings / "two.MP3", (later, later))
    assert again() == 1  # the recording is another one now


def test_what_a_cut_off_run_left_is_cleared_away(
    command: Command, service: Running, recordings: Path
) -> None:
    (recordings / ".one.txt.0badcafe.part").write_text("The qui")
    command("transcribe", recordings, "--url", service.url, "--resume")
    assert written(recordings) == {"one.txt", "two.txt", "older/three.txt"}


@dataclass
class Picky(Double):
    """Refuses one upload; is busy for some."""

    refused: bytes = b"two"
    busy_times: int = 0
    tries: list[int] = field(default_factory=list)

    async def transcribe(self, audio: Any, *arguments: Any) -> Any:
        self.tries.append(1)
        if self.busy_times >= len(self.tries):
            raise ServiceError(Fault.OVERLOADED, "The queue is full.")
        content = audio.read()
        audio.seek(0)
        if self.refused in content:
            raise ServiceError(Fault.UNREADABLE_AUDIO, "This is [no] audio.", "file")
        return await super().transcribe(audio, *arguments)


def test_one_that_fails_does_not_keep_the_others_from_being_done(
    command: Command, service: Running, recordings: Path
) -> None:
    service.app.state.transcriber = Picky()
    result = command("transcribe", recordings, "--url", service.url, "-j", "1")
    assert result.exit_code == 1
    assert written(recordings) == {"one.txt", "older/three.txt"}
    assert f"failed   {recordings / 'two.MP3'}: This is [no] audio." in result.stderr
    assert "2 done, 1 failed" in result.stderr


def test_a_busy_service_is_asked_again(
    command: Command, service: Running, recordings: Path
) -> None:
    service.app.state.transcriber = picky = Picky(refused=b"nothing", busy_times=3)
    result = command("transcribe", recordings / "one.wav", "--url", service.url)
    assert result.exit_code == 0, result.stderr
    assert len(picky.tries) == 4


@dataclass
class Breaking(Double):
    """Fails after its first segment, once for each fault."""

    faults: list[Fault] = field(default_factory=lambda: [Fault.ENGINE_DEAD])

    async def transcribe(self, audio: Any, *arguments: Any) -> Any:
        self.failure = ServiceError(self.faults.pop(), "It broke.") if self.faults else None
        return await super().transcribe(audio, *arguments)


def test_a_stream_that_breaks_is_asked_for_again(
    command: Command, service: Running, recordings: Path
) -> None:
    service.app.state.transcriber = breaking = Breaking()
    result = command("transcribe", recordings / "one.wav", "--url", service.url)
    assert result.exit_code == 0, result.stderr
    assert len(breaking.asked) == 2
    assert (recordings / "one.txt").read_text() == "Hello, world.\n"


def test_a_stream_that_fails_for_good_fails(
    command: Command, service: Running, recordings: Path
) -> None:
    service.app.state.transcriber = breaking = Breaking(faults=[Fault.TIMED_OUT])
    result = command("transcribe", recordings / "one.wav", "--url", service.url)
    assert (result.exit_code, len(breaking.asked)) == (1, 1)
    assert "It broke." in result.stderr
    assert written(recordings) == set()


def test_another_server_is_told_from_this_service(
    command: Command, service: Running, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(self: object, transcript: object) -> TranscriptTextDelta:
        return TranscriptTextDelta(delta="x")

    monkeypatch.setattr(EventWriter, "done", another)
    monkeypatch.setattr(
        TranscriptTextDelta, "to_json", lambda _: b'{"type": "transcript.text.done"}'
    )
    result = command("transcribe", recordings / "one.wav", "--url", service.url)
    assert result.exit_code == 1
    assert "not one of this service's" in result.stderr


def test_a_service_that_stays_busy_is_given_up(
    command: Command, service: Running, recordings: Path
) -> None:
    service.app.state.transcriber = Picky(busy_times=1000)
    result = command("transcribe", recordings / "one.wav", "--url", service.url)
    assert result.exit_code == 3
    assert "The queue is full." in result.stderr


def test_where_nothing_listens_it_says_so(
    command: Command, service: Running, recordings: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = command("transcribe", recordings, "--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 3
    assert f"127.0.0.1:{port}" in result.stderr


def test_a_wrong_key_ends_it_at_once(command: Command, service: Running, recordings: Path) -> None:
    service.app.state.keys = KeyRing([SecretStr("sk-right")])
    wrong = command("transcribe", recordings, "--url", service.url, "--api-key", "sk-wrong")
    assert wrong.exit_code == 3
    assert "Incorrect API key" in wrong.stderr
    right = command("transcribe", recordings, "--url", service.url, "--api-key", "sk-right")
    assert right.exit_code == 0, right.stderr
    assert "sk-" not in right.stderr + right.stdout


@pytest.mark.parametrize("end", ["", "/", "/v1", "/api/v1/"])
def test_the_url_may_be_a_base_url(
    command: Command, service: Running, recordings: Path, end: str
) -> None:
    result = command("transcribe", recordings / "one.wav", "--url", service.url + end)
    assert result.exit_code == 0, result.stderr


def test_the_options_reach_the_service(
    command: Command, service: Running, recordings: Path
) -> None:
    one = recordings / "one.wav"
    command("transcribe", one, "--url", service.url, "-l", "de", "--prompt", "Ada, Grace")
    options = service.transcriber.asked[-1]
    assert (options.language, options.prompt, options.task) == ("de", "Ada, Grace", Task.TRANSCRIBE)
    command("transcribe", one, "--url", service.url, "--task", "translate")
    assert service.transcriber.asked[-1].task is Task.TRANSLATE


def test_standard_input_goes_to_standard_output(command: Command, service: Running) -> None:
    result = command("transcribe", "-", "--url", service.url, "-f", "srt", input=b"RIFF piped")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "1\n00:00:00,000 --> 00:00:03,320\nHello, world.\n"
    assert service.transcriber.audio == b"RIFF piped"


def test_standard_input_may_go_to_files(command: Command, service: Running, tmp_path: Path) -> None:
    result = command("transcribe", "-", "--url", service.url, *ALL, "-o", tmp_path, input=b"RIFF")
    assert result.exit_code == 0, result.stderr
    assert written(tmp_path) == {"stdin.txt", "stdin.srt", "stdin.vtt", "stdin.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "-f", "txt,srt"], "takes one format"),
        (["-", "one.wav"], "cannot be mixed"),
        (["nowhere.wav"], "does not exist"),
        ([".", "-f", "docx"], "there are txt, srt, vtt, json"),
        (["empty"], "no recording"),
        (["talk.wav", "--url", "localhost:8000"], "has no http://"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    command: Command,
    service: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    monkeypatch.setenv("WHISPER_URL", service.url)
    result = command("transcribe", *arguments, input=b"RIFF")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_an_empty_standard_input_is_no_recording(command: Command, service: Running) -> None:
    result = command("transcribe", "-", "--url", service.url, input=b"")
    assert result.exit_code == 1
    assert "empty" in result.stderr
