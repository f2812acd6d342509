"""A real Prometheus scrapes the running service, and every query of the dashboard has an answer."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI

from tests.conftest import Clip
from tests.deploy.test_monitoring import MONITORING, queries
from tests.integration.conftest import Server, free_port
from tests.integration.test_contract import wav

JOB = "whisper-service"
WAIT_SECONDS = 60.0
VARIABLES = {"$job": ".+", "$instance": ".+", "$__rate_interval": "30s"}


def configuration(target: str) -> str:
    """The project's own configuration, this machine's service in the place of compose's."""
    text = (MONITORING / "prometheus.yml").read_text()
    assert '"whisper:8000"' in text
    return (
        text.replace("whisper:8000", target)
        .replace("scrape_interval: 15s", "scrape_interval: 1s")
        .replace("alerts.yml", str(MONITORING / "alerts.yml"))
    )


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed (Debian's package prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(configuration(server.url.removeprefix("http://")))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/") as client:
            until(lambda: samples(client, f'up{{job="{JOB}"}} == 1'), folder / "log")
            yield client
    finally:
        process.terminate()
        process.wait(30)


def samples(prometheus: httpx.Client, query: str) -> list[float]:
    try:
        answer = prometheus.get("query", params={"query": query})
    except httpx.TransportError:
        return []
    if answer.status_code == 503:  # it is starting
        return []
    body = answer.json()
    assert body["status"] == "success", (query, body)
    return [float(each["value"][1]) for each in body["data"]["result"]]


def until(condition: object, log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def has_data(prometheus: httpx.Client, query: str) -> bool:
    return any(not math.isnan(value) for value in samples(prometheus, query))


def some_of_everything(client: OpenAI, clips: dict[str, Clip]) -> None:
    clip = clips["en/hello_world"].path
    ask = client.audio.transcriptions.create
    ask(model="whisper-1", file=clip)
    for _ in ask(model="whisper-1", file=clip, stream=True):
        pass
    silence = ("silence.wav", wav(np.zeros(16_000)))
    ask(model="whisper-1", file=silence, extra_body={"vad_filter": False})
    with pytest.raises(openai.BadRequestError):
        ask(model="whisper-1", file=("letter.txt", b"no audio"))


def test_every_query_of_the_dashboard_returns_data(
    prometheus: httpx.Client, client: OpenAI, clips: dict[str, Clip]
) -> None:
    waiting = {query: query for query in queries()}
    for name, value in VARIABLES.items():
        waiting = {query: asked.replace(name, value) for query, asked in waiting.items()}
    deadline = time.monotonic() + WAIT_SECONDS
    while waiting and time.monotonic() < deadline:
        some_of_everything(client, clips)  # between two scrapes: a rate needs growth
        time.sleep(1.1)
        waiting = {q: asked for q, asked in waiting.items() if not has_data(prometheus, asked)}
    assert list(waiting) == []


def test_what_the_running_service_shows_follows_prometheus_conventions(
    prometheus: httpx.Client, server: Server
) -> None:
    page = httpx.get(f"{server.url}/metrics").content
    assert b"whisper_engine_info{" in page
    assert b"vllm:" in page
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
    complaints = done.stderr.decode().splitlines()
    # vLLM's names are vLLM's: a colon is meant for recording rules.
    assert [line for line in complaints if not line.startswith("vllm:")] == []


def test_prometheus_has_loaded_the_alerts_and_none_fires(prometheus: httpx.Client) -> None:
    (group,) = prometheus.get("rules").json()["data"]["groups"]
    assert len(group["rules"]) >= 9
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    assert [rule["name"] for rule in group["rules"] if rule["state"] == "firing"] == []
