"""A real Chromium for the tests of the page; they are skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 120_000  # milliseconds; the engine may be busy with others


def find_chromium() -> str | None:
    """CHROMIUM, else one that is installed, else the one that playwright has downloaded."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if found:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip(
            "no Chromium is installed: `apt-get install chromium`, `playwright install chromium`, "
            "or CHROMIUM=/path/to/one"
        )
    with sync_playwright() as playwright:
        # Inside a container its own sandbox cannot be set up; it loads pages of this machine only.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--mute-audio", *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, **context: object) -> Iterator[Page]:
    """The page, once it has found the service. Anything it complains about fails the test."""
    complaints: list[str] = []
    surroundings = browser.new_context(**context)  # type: ignore[arg-type]
    surroundings.set_default_timeout(WAIT)
    page = surroundings.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            # The browser's own line for an answer that is no 2xx, which the page handles.
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    try:
        page.goto(url)
        yield page
    finally:
        surroundings.close()
    assert not complaints, complaints
