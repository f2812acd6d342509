"""The page at `/` in a real Chromium, with real speech through the real engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import srt
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.conftest import Clip
from tests.integration.browser import WAIT, chromium, opened
from tests.integration.conftest import Server
from tests.integration.test_contract import wav
from tests.integration.test_long_audio import samples_of
from whisper_service.domain import SAMPLE_RATE

SENTENCES = ("en/quick_brown_fox", "en/hello_world", "en/counting")
PAUSE = np.zeros(2 * SAMPLE_RATE, np.float32)
EPSILON = 0.15  # seconds; a media element seeks to a frame


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Clip]) -> Path:
    """Three sentences, four times over, with pauses: two windows, a dozen segments."""
    parts = [part for name in SENTENCES for part in (samples_of(clips[name]), PAUSE)] * 4
    path = tmp_path_factory.mktemp("speech") / "three-sentences.wav"
    path.write_bytes(wav(np.concatenate(parts)))
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Clip]) -> Path:
    """Two sentences that are decoded alike each time; its name is made to break a command line."""
    parts = [part for name in SENTENCES[:2] for part in (samples_of(clips[name]), PAUSE)]
    path = tmp_path_factory.mktemp("short") / "talk; it's.wav"
    path.write_bytes(wav(np.concatenate(parts)))
    return path


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Clip]) -> Path:
    """What the fake microphone hears, over and over."""
    path = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    path.write_bytes(wav(np.concatenate([samples_of(clips["en/quick_brown_fox"]), PAUSE[:8000]])))
    return path


@pytest.fixture(scope="module")
def browser(spoken: Path, pytestconfig: pytest.Config) -> Iterator[Browser]:
    assert pytestconfig.cache
    with chromium(
        pytestconfig.cache.mkdir("chromium"),
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}",
    ) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with opened(browser, f"{server.url}/", accept_downloads=True) as page:
        expect(page.locator("#service")).to_have_attribute("data-state", "ready", timeout=WAIT)
        yield page


def choose(page: Page, recording: Path) -> None:
    page.set_input_files("#file", recording)


def wait_until_done(page: Page) -> None:
    page.wait_for_selector('body[data-stage="done"]')


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found]


def current_time(page: Page) -> float:
    return float(page.evaluate("document.getElementById('audio').currentTime"))


def eventually(is_so: Callable[[], bool]) -> None:
    """Not `wait_for_function`, which the page's policy rightly refuses."""
    deadline = time.monotonic() + WAIT / 1000
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_text_arrives_while_the_recording_is_still_heard(page: Page, recording: Path) -> None:
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => window.seen.push([
                document.body.dataset.stage, document.querySelectorAll(".segment").length,
            ])).observe(document.getElementById("segments"), { childList: true });
        }"""
    )
    choose(page, recording)
    wait_until_done(page)
    live = [count for stage, count in page.evaluate("window.seen") if stage == "busy" and count]
    assert live, "no segment came before the end"
    assert live == sorted(live)
    text = page.locator("#segments").inner_text().casefold()
    assert text.count("lazy dog") == 4
    expect(page.locator("#facts")).to_contain_text("English")


def test_the_upload_is_shown_as_it_goes(page: Page, recording: Path) -> None:
    network = page.context.new_cdp_session(page)
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000},
    )
    page.evaluate(
        """() => {
            window.bar = [];
            new MutationObserver(() => {
                const bar = document.getElementById("progress");
                if (bar.getAttribute("aria-label") === "Upload")
                    window.bar.push(Number(bar.getAttribute("aria-valuenow")));
            }).observe(document.getElementById("progress"), { attributes: true });
        }"""
    )
    choose(page, recording)
    expect(page.locator("#job-text")).to_contain_text(re.compile(r"Uploading, .* of "))
    wait_until_done(page)
    assert len({value for value in page.evaluate("window.bar") if 0 < value < 100}) >= 2


def test_a_job_can_be_given_up(page: Page, recording: Path) -> None:
    network = page.context.new_cdp_session(page)
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000},
    )
    choose(page, recording)
    page.click("#cancel")
    page.wait_for_selector('body[data-stage="idle"]')
    expect(page.locator("#problem")).to_be_hidden()


def test_a_click_on_a_segment_jumps_there_and_playing_marks_it(page: Page, short: Path) -> None:
    choose(page, short)
    wait_until_done(page)
    segment = page.locator(".segment").nth(1)
    segment.click()
    jumped = current_time(page)
    expect(segment).to_have_attribute("aria-current", "true")
    shown = segment.locator("button").inner_text()
    minutes, seconds = shown.split(":")
    assert abs(jumped - (int(minutes) * 60 + int(seconds))) < 1 + EPSILON
    page.click("#play")
    eventually(lambda: current_time(page) > jumped + 0.4)
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    page.locator("#waveform").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert 4.9 < current_time(page) < 6.9
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")


def test_the_waveform_is_drawn_and_a_click_on_it_jumps(page: Page, short: Path) -> None:
    choose(page, short)
    wait_until_done(page)
    duration = float(page.evaluate("document.getElementById('audio').duration"))
    box = page.locator("#waveform").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert abs(current_time(page) - duration / 2) < duration / 100
    heights = """() => {
        const canvas = document.getElementById("waveform");
        const { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        const bars = new Set();
        for (let x = 0; x < width; x += 3) {
            let filled = 0;
            for (let y = 0; y < height; y += 1) filled += data[(y * width + x) * 4 + 3] > 128;
            bars.add(filled);
        }
        return bars.size;
    }"""
    assert page.evaluate(heights) > 8


def test_the_keyboard_is_enough(page: Page, short: Path) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    choose(page, short)
    wait_until_done(page)
    page.locator(".segment button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".segment").nth(1)).to_have_attribute("aria-current", "true")
    assert current_time(page) > 1


def test_words_are_marked_and_jumped_to_where_the_answer_has_them(page: Page, short: Path) -> None:
    """The words' way through the page; the answer is written here."""
    words = [
        {"word": "Hello,", "start": 0.2, "end": 0.9},
        {"word": "brave", "start": 5.0, "end": 6.0},
        {"word": "world.", "start": 6.0, "end": 7.5},
    ]
    segment = {
        "id": 0, "seek": 0, "start": 0.2, "end": 7.5, "text": " Hello, brave world.",
        "tokens": [], "temperature": 0, "avg_logprob": -0.7, "compression_ratio": 1,
        "no_speech_prob": 0, "words": words,
    }  # fmt: skip
    done = {"type": "transcript.text.done", "text": "Hello, brave world.", "task": "transcribe"}
    events = [
        segment | {"type": "transcript.text.segment"},
        done | {"language": "english", "duration": 8.0, "words": words},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    asked: list[bytes] = []

    def answer(route: Route) -> None:
        asked.append(route.request.post_data_buffer or b"")
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/audio/transcriptions", answer)
    choose(page, short)
    wait_until_done(page)
    page.get_by_text("world.", exact=True).click()
    assert abs(current_time(page) - 6.0) < EPSILON
    expect(page.locator(".word.now")).to_have_text("world.")
    expect(page.locator(".segment .confidence")).to_have_text("50% sure")
    expect(page.locator(".segment")).to_have_class(re.compile("unsure"))
    page.click("#call summary")
    expect(page.locator("#snippet")).to_contain_text("timestamp_granularities[]=word")


def downloaded(page: Page, ending: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Download {ending}").click()
    assert download.value.suggested_filename == f"talk; it's.{ending}"
    return Path(download.value.path()).read_text()


def test_every_download_is_what_the_service_would_have_said(
    page: Page, short: Path, server: Server
) -> None:
    choose(page, short)
    wait_until_done(page)

    def asked(response_format: str, **fields: object) -> str:
        return httpx.post(
            f"{server.url}/v1/audio/transcriptions",
            files={"file": short.read_bytes()},
            data={"model": "whisper-1", "response_format": response_format, **fields},
            timeout=300,
        ).text

    assert downloaded(page, "txt") == asked("text")
    body = json.loads(downloaded(page, "json"))
    words = {"timestamp_granularities[]": ["word", "segment"]}
    expected = json.loads(asked("verbose_json", **words))
    assert body["text"] == expected["text"]
    assert body["language"] == expected["language"]
    assert body["usage"] == expected["usage"]
    times = [(each["start"], each["end"], each["text"]) for each in body["segments"]]
    assert times == [(each["start"], each["end"], each["text"]) for each in expected["segments"]]
    assert_same_cues(downloaded(page, "srt"), asked("srt"))
    aligned = {"max_line_width": 42}  # the default: it has the words aligned, as the page has
    ours, theirs = downloaded(page, "vtt"), asked("vtt", **aligned)
    assert re.sub(r"\S+ --> \S+", "", ours) == re.sub(r"\S+ --> \S+", "", theirs)


def assert_same_cues(one: str, other: str) -> None:
    """The page has words' times, a plain `srt` has not: bounds may differ by less than a word."""
    ours, theirs = list(srt.parse(one)), list(srt.parse(other))
    assert [cue.content for cue in ours] == [cue.content for cue in theirs]
    for mine, its in zip(ours, theirs, strict=True):
        assert abs(mine.start - its.start) < timedelta(seconds=0.4)
        assert abs(mine.end - its.end) < timedelta(seconds=0.4)


def test_the_format_that_is_picked_is_shown_and_copied(page: Page, short: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, short)
    wait_until_done(page)
    page.click("#copy")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.count("lazy dog") == 1
    page.select_option("#format", "srt")
    expect(page.locator("#plain")).to_contain_text("-->")
    expect(page.locator("#segments")).to_be_hidden()
    page.click("#copy")
    assert page.evaluate("navigator.clipboard.readText()").startswith("1\n00:00:0")


@pytest.mark.parametrize("name", ["curl", "python"])
def test_the_call_that_is_shown_does_the_same(page: Page, short: Path, name: str) -> None:
    page.select_option("#format", "srt")
    choose(page, short)
    wait_until_done(page)
    page.click("#call summary")
    page.click(f"#tab-{name}")
    code = page.locator("#snippet").inner_text()
    shown = page.locator("#plain").inner_text()
    command = ["bash", "-c", code + " -s"] if name == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=short.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_same_cues(done.stdout, shown)


def test_what_is_spoken_into_the_microphone_becomes_text(page: Page) -> None:
    page.click("#record")
    expect(page.locator("#recording-time")).to_have_text("0:06", timeout=WAIT)
    page.click("#stop")
    wait_until_done(page)
    assert "brown fox" in page.locator("#segments").inner_text().casefold()
    duration = float(page.evaluate("document.getElementById('audio').duration"))
    assert 5 < duration < 9  # which a browser's own recording does not say by itself


def test_a_recording_can_be_discarded(page: Page) -> None:
    page.click("#record")
    expect(page.locator("#recording")).to_be_visible()
    page.click("#discard")
    expect(page.locator("#invite")).to_be_visible()
    expect(page.locator("#job")).to_be_hidden()


def test_a_translation_is_english(page: Page, clips: dict[str, Clip]) -> None:
    page.select_option("#task", "translate")
    choose(page, clips["zh/nihao_shijie"].path)
    wait_until_done(page)
    assert "world" in page.locator("#segments").inner_text().casefold()


def test_an_error_is_shown_as_what_it_says(page: Page, tmp_path: Path) -> None:
    letter = tmp_path / "letter.mp3"
    letter.write_text("this is a letter, not a recording <b>at all</b>")
    choose(page, letter)
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("Supported formats: flac, m4a, mp3")
    expect(problem).to_contain_text(re.compile(r"400 · unreadable_audio · req_\w+"))
    assert violations(page) == []


def test_silence_is_told_from_a_failure(page: Page, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    silence.write_bytes(wav(np.zeros(3 * SAMPLE_RATE)))
    choose(page, silence)
    expect(page.locator("#empty")).to_be_visible()


def test_a_file_is_dropped_anywhere(page: Page, clips: dict[str, Clip]) -> None:
    content = list(clips["en/hello_world"].path.read_bytes())
    page.evaluate(
        """(content) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(content)], "dropped.wav"));
            for (const type of ["dragenter", "dragover", "drop"])
                document.querySelector("footer").dispatchEvent(
                    new DragEvent(type, { dataTransfer: given, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    wait_until_done(page)
    assert "hello" in page.locator("#segments").inner_text().casefold()
    expect(page.locator("#veil")).not_to_have_class(re.compile("shown"))


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1000), ("dark", 1000), ("light", 390), ("dark", 390)]
)
def test_it_can_be_used_by_everybody_in_light_and_dark_on_a_phone_too(
    browser: Browser, server: Server, recording: Path, scheme: str, width: int
) -> None:
    """axe-core finds nothing, and nothing is wider than the screen, in each state of the page."""
    with opened(
        browser,
        f"{server.url}/",
        color_scheme=scheme,
        viewport={"width": width, "height": 844},
        device_scale_factor=2,
    ) as page:
        expect(page.locator("#service")).to_have_attribute("data-state", "ready", timeout=WAIT)
        assert violations(page) == []
        picture(page, f"{scheme}-{width}-empty.png")
        choose(page, recording)
        wait_until_done(page)
        page.locator(".segment").nth(3).click()
        page.mouse.move(0, 0)
        eventually(lambda: bool(page.evaluate("!document.getElementById('audio').seeking")))
        picture(page, f"{scheme}-{width}-done.png")
        assert violations(page) == []
        page.click("#call summary")
        page.select_option("#format", "json")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(each) for each in re.findall(r"\d+", background)][:3]
        assert (sum(channels) < 200) == (scheme == "dark")


def test_the_theme_can_be_turned_and_is_remembered(page: Page) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.click("#theme")
    dark = page.evaluate(colour)
    assert light != dark
    page.reload()
    assert page.evaluate(colour) == dark
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")


def picture(page: Page, name: str) -> None:
    """Keeps a screenshot where SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder, name), full_page=True)
