"""A real Chromium for the tests of the page; they are skipped where none can be had."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.integration.packed_chromium import packed_chromium

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 120_000  # milliseconds; the engine may be busy with others


def find_chromium(cache: Path) -> tuple[str, dict[str, str]]:
    """CHROMIUM, else one that is installed, else one that npm has; and its environment."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if found:
        return found, dict(os.environ)
    packed = packed_chromium(cache)
    if packed is None:
        pytest.skip(
            "there is no Chromium, and npm could not fetch one: `apt-get install chromium`, or "
            "CHROMIUM=/path/to/one"
        )
    return packed


@contextmanager
def chromium(cache: Path, *arguments: str) -> Iterator[Browser]:
    path, environment = find_chromium(cache)
    with sync_playwright() as playwright:
        # Inside a container its own sandbox cannot be set up; it loads pages of this machine only.
        browser = playwright.chromium.launch(
            executable_path=path,
            env=environment,
            args=["--no-sandbox", "--mute-audio", *arguments],
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
