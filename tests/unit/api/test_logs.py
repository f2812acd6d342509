"""One line a request, for people or for a log store, and nothing of what was said in it."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest

from whisper_service.logs import configure_logging


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch):
    """Configures the log and gives what is written to it."""
    root, service = logging.getLogger(), logging.getLogger("whisper_service")
    before = root.handlers[:], root.level, service.level, service.propagate

    def configure(form: str) -> io.StringIO:
        written = io.StringIO()
        monkeypatch.setattr("sys.stderr", written)
        configure_logging("info", form)  # type: ignore[arg-type]
        return written

    yield configure
    root.handlers[:], root.level, service.level, service.propagate = before


async def test_a_json_line_has_every_number_of_the_request(logged, post) -> None:
    written = logged("json")
    response = await post({"response_format": "srt"}, headers={"x-request-id": "mine-1"})
    assert response.status_code == 200
    (line,) = [json.loads(each) for each in written.getvalue().splitlines()]
    assert line["logger"] == "whisper_service.access"
    assert (line["level"], line["request_id"]) == ("INFO", "mine-1")
    assert (line["method"], line["path"]) == ("POST", "/api/v1/audio/transcriptions")
    assert (line["status"], line["outcome"], line["format"]) == (200, "ok", "srt")
    assert line["upload_bytes"] > 0
    assert line["receive_seconds"] >= 0
    assert line["format_seconds"] >= 0
    assert line["seconds"] > 0
    assert re.match(r"\d{4}-\d\d-\d\dT", line["timestamp"])


async def test_a_console_line_can_be_read_and_searched(logged, post) -> None:
    written = logged("console")
    await post(file=("speech.wav", b""), headers={"x-request-id": "mine-2"})
    (line,) = written.getvalue().splitlines()
    assert "[mine-2] POST /api/v1/audio/transcriptions 400 " in line
    assert " outcome=invalid_value " in line
    assert re.search(r" upload_bytes=\d+ ", line)


async def test_a_forged_path_makes_no_second_line(logged, client) -> None:
    written = logged("json")
    await client.get("http://test/no%0Awhere")
    (line,) = written.getvalue().splitlines()
    assert json.loads(line)["path"] == "/no%0Awhere"


@pytest.mark.parametrize("form", ["console", "json"])
async def test_what_was_said_is_logged_only_where_that_is_asked_for(
    logged, app, settings, post, form: str
) -> None:
    written = logged(form)
    await post()
    assert "Hello, world." not in written.getvalue()
    app.state.settings = settings.model_copy(update={"log_transcripts": True})
    await post()
    assert "Hello, world." in written.getvalue()


def test_an_exception_is_one_json_line(logged) -> None:
    written = logged("json")
    try:
        int("broken")
    except ValueError:
        logging.getLogger("whisper_service.x").exception("it failed")
    (line,) = written.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exc_info"]
