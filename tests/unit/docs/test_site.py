"""The documentation builds without a warning, its links lead somewhere, it says all there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import docs_pages
from whisper_service.settings import Settings, variable

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 9
    for page in pages:
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="([^"]+)"', page.read_text())
        assert not [link for link in loaded if link.startswith(("http", "//"))], page


def test_every_setting_is_in_the_reference() -> None:
    page = "\n".join(docs_pages.settings_page())
    for name, field in Settings.model_fields.items():
        assert f"`{variable(name)}`" in page
        assert " ".join((field.description or "").split()).split("|")[0].split("<")[0] in page
    assert str(Path.home()) not in page


def test_every_route_field_and_body_is_in_the_reference() -> None:
    document = docs_pages.openapi_document()
    page = "\n".join(docs_pages.api_page(document))
    for path in document["paths"]:
        assert f" {path}\n" in page
    schemas = document["components"]["schemas"]
    for name in schemas["TranscriptionForm"]["properties"]:
        assert f"| `{name}` |" in page
    for target in re.findall(r"\]\(#([^)]+)\)", page):
        assert re.search(rf"^### {target}$", page, re.MULTILINE | re.IGNORECASE), target


def test_every_command_is_in_the_reference() -> None:
    done = subprocess.run(
        [sys.executable, "-c",
         "from scripts.docs_pages import commands_page; print('\\n'.join(commands_page()))"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for command in ("serve", "transcribe", "models list", "models pull", "doctor", "bench"):
        assert f"## whisper-service {command}\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert "--max-upload-bytes" in done.stdout


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_the_links_of_the_pages_beside_the_code_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|srcset)=\"([^\"]+)\"", text):
        target = link[0] or link[1]
        assert target.startswith("http") or (ROOT / target).exists(), target
