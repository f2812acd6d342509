"""The page at `/`: its files, and the headers that keep it to itself."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import SecretStr

from whisper_service.api.keys import KeyRing
from whisper_service.api.playground import routes

STATIC = files("whisper_service.api.playground") / "static"
NAMES = sorted(entry.name for entry in STATIC.iterdir())
PAGE = (STATIC / "index.html").read_text()


async def test_the_page_is_at_the_root(client) -> None:
    answer = await client.get("http://test/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Speech to text" in answer.text


@pytest.mark.parametrize("name", [name for name in NAMES if name != "index.html"])
async def test_each_file_is_served_with_its_type(client, name) -> None:
    answer = await client.get(f"http://test/playground/{name}")
    assert answer.status_code == 200
    assert answer.content == (STATIC / name).read_bytes()
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.split(".")[-1]]
    assert answer.headers["content-type"].startswith(kind)


async def test_what_the_page_and_its_modules_load_is_served(client) -> None:
    loaded = set(re.findall(r'(?:src|href)="(playground/[^"]+)"', PAGE))
    for name in NAMES:
        if name.endswith(".js"):
            source = (STATIC / name).read_text()
            loaded |= {f"playground/{each}" for each in re.findall(r'from "\./([^"]+)"', source)}
    assert len(loaded) >= 10
    for link in loaded:
        assert (await client.get(f"http://test/{link}")).status_code == 200, link


async def test_nothing_may_run_or_load_that_is_not_ours(client) -> None:
    for path in ("", "playground/app.js", "playground/service.json"):
        headers = (await client.get(f"http://test/{path}")).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_needs_no_exception_from_its_policy() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", PAGE)
    assert all('src="' in tag for tag in re.findall(r"<script[^>]*>", PAGE))
    for name in NAMES:
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(", text), name


@pytest.mark.parametrize("path", ["", "playground/app.js"])
async def test_a_file_that_is_known_is_not_sent_again(client, path) -> None:
    first = await client.get(f"http://test/{path}")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
        again = await client.get(f"http://test/{path}", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = await client.get(f"http://test/{path}", headers={"if-none-match": '"old"'})
    assert changed.status_code == 200


async def test_its_head_can_be_asked_for(client) -> None:
    answer = await client.head("http://test/")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(PAGE.encode())


@pytest.mark.parametrize(
    "path", ["playground/index.html", "playground/..%2froutes.py", "playground/x", "playground/"]
)
async def test_nothing_else_is_served(client, error_of, path) -> None:
    answer = await client.get(f"http://test/{path}")
    assert answer.status_code == 404
    error_of(answer)


@pytest.mark.parametrize("path", ["", "playground/app.js", "playground/service.json"])
async def test_the_page_can_be_turned_off(client, app, settings, error_of, path) -> None:
    app.state.settings = settings.model_copy(update={"playground": False})
    answer = await client.get(f"http://test/{path}")
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "route_not_found"


async def test_the_page_opens_without_a_key_and_says_that_one_is_needed(
    client, app, settings
) -> None:
    known = (await client.get("http://test/playground/service.json")).json()
    assert (known["needs_key"], known["max_upload_bytes"]) == (False, 3_000_000)
    assert known["languages"] == {"en": "english", "de": "german", "haw": "hawaiian"}
    keys = (SecretStr("sk-secret"),)
    app.state.settings = settings.model_copy(update={"api_keys": keys, "public_docs": False})
    app.state.keys = KeyRing(keys)
    assert (await client.get("http://test/")).status_code == 200
    answer = await client.get("http://test/playground/service.json")
    assert answer.json()["needs_key"] is True
    assert answer.json()["docs"] is False
    assert "sk-secret" not in answer.text
    assert "large-v3" not in answer.text  # which model it is, only the API tells, for a key


def test_every_file_of_the_folder_has_a_type_to_be_served_with() -> None:
    assert sorted(routes._FILES) == NAMES


@pytest.mark.slow
def test_the_page_is_in_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(name).name for name in archive.namelist() if "playground/static/" in name}
    assert packed == set(NAMES)
