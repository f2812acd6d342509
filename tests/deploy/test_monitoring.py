"""The alert rules fire when they should, and the dashboard asks for series that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from whisper_service import metrics  # noqa: F401 -- registers the series

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "whisper-service.json"


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    return found


def panels() -> list[dict[str, Any]]:
    return [each for each in json.loads(DASHBOARD.read_text())["panels"] if each["type"] != "row"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def own_series() -> set[str]:
    lines = generate_latest(REGISTRY).decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if line.startswith("whisper_")} | {
        "whisper_engine_info",  # there once the engine is
        "whisper_requests_total",
        "whisper_request_duration_seconds_bucket",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_accepts_the_configuration_and_the_alerts_fire_when_they_should(
    promtool: str, arguments: tuple[str, ...]
) -> None:
    done = subprocess.run([promtool, *arguments], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test_and_a_remedy() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text()))
    tested = set(re.findall(r"alertname: (\w+)", (MONITORING / "alerts_test.yml").read_text()))
    assert alerts == tested
    manual = (MONITORING.parents[1] / "docs" / "operations.md").read_text()
    assert {alert for alert in alerts if f"`{alert}`" not in manual} == set()


def test_names_and_units_follow_prometheus_conventions(promtool: str) -> None:
    page = generate_latest(REGISTRY)
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True)
    complaints = [line for line in done.stderr.decode().splitlines() if line.startswith("whisper_")]
    assert complaints == []


def test_promtool_does_complain_of_a_bad_name(promtool: str) -> None:
    page = b"# TYPE whisper_total_bad_ms counter\nwhisper_total_bad_ms 1\n"
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True)
    assert b"whisper_total_bad_ms" in done.stderr


@pytest.mark.parametrize("source", ["dashboard", "alerts.yml"])
def test_only_series_that_exist_are_asked_for(source: str) -> None:
    asked = " ".join(queries()) if source == "dashboard" else (MONITORING / source).read_text()
    names = set(re.findall(r"\bwhisper_[a-z_]+", asked))
    assert names
    assert names - own_series() == set()


def test_the_dashboard_fits_grafanas_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(ids) == len(set(ids))
