"""Two real replicas under Ray Serve on this machine's CPU, and what a cluster must bear.

Traffic reaches both; a replica is killed under load, then the engine of another, and clients, who
retry, lose nothing; a rolling update drops nothing without any retry. Needs the extra `ray`, 10 GB
of memory and several minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import ray
import yaml
from openai import OpenAI
from ray import serve
from ray.serve.schema import ServeDeploySchema

from samples import samples_folder

CONFIG = Path(__file__).parents[1] / "deploy" / "ray" / "serve.yaml"
START_SECONDS = 600
CLIP = ("en/quick_brown_fox", "fox")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


METRICS_PORT = 9200  # the first replica's; deploy/ray/serve.yaml


def on_this_machine(port: int, aliases: str) -> dict[str, Any]:
    """The project's own configuration, with two replicas without a GPU."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["proxy_location"] = "HeadOnly"
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    (deployment,) = config["applications"][0]["deployments"]
    deployment["autoscaling_config"] |= {"min_replicas": 2, "max_replicas": 2}
    deployment["graceful_shutdown_timeout_s"] = 120
    deployment["ray_actor_options"] = {
        "num_cpus": 1,
        "runtime_env": {
            "env_vars": {
                "WHISPER_PROFILE": "cpu",
                "WHISPER_MODEL": "embedded",
                "WHISPER_MODEL_ALIASES": aliases,
                "WHISPER_DECODE_WORKERS": "1",
                "WHISPER_REPLICA_METRICS_PORT": str(METRICS_PORT),
                "WHISPER_MAX_WINDOWS_IN_FLIGHT": "4",
                "VLLM_CPU_KVCACHE_SPACE": "1",
            }
        },
    }
    return config


def deploy(config: dict[str, Any]) -> None:
    """As `serve deploy` does, without its dashboard."""
    from ray.serve.context import _get_global_client

    ServeDeploySchema.model_validate(config)
    client = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate(config))


def replicas() -> dict[str, int]:
    """How many replicas are in which state."""
    application = serve.status().applications.get("whisper")
    deployment = application.deployments.get("whisper") if application else None
    return (
        {str(state): count for state, count in deployment.replica_states.items()}
        if deployment
        else {}
    )


def wait_until(what: str, holds: Any, seconds: float = START_SECONDS) -> None:
    began = time.monotonic()
    while not holds():
        failed = any(app.status == "DEPLOY_FAILED" for app in serve.status().applications.values())
        if failed or time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; {serve.status()}")
        time.sleep(1)
    say(f"{what} (after {time.monotonic() - began:.0f} s)")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def is_running(count: int) -> bool:
    return replicas().get("RUNNING") == count and sum(replicas().values()) == count


def replica_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ServeReplica:whisper" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def named(processes: list[psutil.Process], name: str) -> psutil.Process:
    return next(each for each in processes if name in " ".join([each.name(), *each.cmdline()]))


class Load:
    """Clients that ask again and again, and what they were answered."""

    def __init__(self, url: str, *, clients: int, retries: int) -> None:
        self._client = OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=retries, timeout=300
        )
        self._clip = (samples_folder() / f"{CLIP[0]}.wav").read_bytes()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = clients
        self.answered: Counter[str] = Counter()

    def _ask_again_and_again(self) -> None:
        while not self._over.is_set():
            try:
                result = self._client.audio.transcriptions.create(
                    model="whisper-1", file=("speech.wav", self._clip)
                )
                self.answered["right" if CLIP[1] in result.text else "wrong"] += 1
            except Exception as error:  # noqa: BLE001 -- counted and shown
                self.answered[repr(error)[:200]] += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        futures = [self._pool.submit(self._ask_again_and_again) for _ in range(self._clients)]
        try:
            yield
        finally:
            self._over.set()
            for future in futures:
                future.result()

    def check(self, what: str) -> None:
        say(f"{what}: {dict(self.answered)}")
        if set(self.answered) != {"right"}:
            raise AssertionError(f"{what}: {dict(self.answered)}")


def audio_by_replica() -> dict[int, float]:
    """Seconds of audio that each replica has transcribed, by the port of its metrics."""
    done = {}
    for port in range(METRICS_PORT, METRICS_PORT + 8):
        try:
            page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        except httpx.TransportError:
            continue
        series = r"^whisper_audio_transcribed_seconds_total\{.*\} (\S+)$"
        done[port] = sum(float(each) for each in re.findall(series, page, re.MULTILINE))
    return done


def traffic_reaches_both(url: str) -> None:
    before = audio_by_replica()
    load = Load(url, clients=4, retries=0)
    began = time.monotonic()
    with load.running():
        time.sleep(30)
    took = time.monotonic() - began
    load.check("two replicas under load")
    after = audio_by_replica()
    grown = {port: round(after[port] - before.get(port, 0.0), 1) for port in after}
    say(f"seconds of audio by replica: {grown}; RTFx of both {sum(grown.values()) / took:.1f}")
    if len(grown) != 2 or min(grown.values()) < 0.2 * max(grown.values()):
        raise AssertionError("one replica had next to nothing to do")


def one_is_killed(url: str, what: str) -> None:
    """`what`: "replica", the process that Ray routes to, or "engine", vLLM's beneath it."""
    load = Load(url, clients=4, retries=6)
    with load.running():
        time.sleep(10)
        replica = replica_processes()[0]
        tree = [replica, *replica.children(recursive=True)]
        victim = tree[0] if what == "replica" else named(tree, "VLLM::EngineCore")
        say(f"killing the {what} {victim.pid}")
        os.kill(victim.pid, signal.SIGKILL)
        wait_until("that is noticed", lambda: not is_running(2), 120)
        wait_until("another replica took its place", lambda: is_running(2))
        time.sleep(10)
    left = [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    if left:
        raise AssertionError(f"outlived their replica: {left}")
    load.check(f"with retries, while this was killed: {what}")


def update_drops_nothing(url: str, port: int) -> None:
    load = Load(url, clients=2, retries=0)
    with load.running():
        time.sleep(5)
        deploy(on_this_machine(port, "whisper-1,whisper-updated"))
        wait_until("the update has begun", lambda: not is_running(2), 120)
        wait_until("the update is done", lambda: is_running(2), 2 * START_SECONDS)
        time.sleep(5)
    load.check("during a rolling update, without any retry")
    names = {each["id"] for each in httpx.get(f"{url}/v1/models").json()["data"]}
    if "whisper-updated" not in names:
        raise AssertionError(f"not updated: {names}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ["traffic", "kill", "engine", "update"]
    parser.add_argument("--only", choices=parts, nargs="+")
    chosen = parser.parse_args().only or parts
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 otherwise: others' work would go first
    ray.init(
        num_cpus=4, object_store_memory=128 * 2**20, include_dashboard=False, log_to_driver=True
    )
    config = on_this_machine(port, "whisper-1")
    try:
        serve.start(proxy_location=config["proxy_location"], http_options=config["http_options"])
        deploy(config)
        wait_until("two replicas run", lambda: is_running(2))
        if "traffic" in chosen:
            traffic_reaches_both(url)
        if "kill" in chosen:
            one_is_killed(url, "replica")
        if "engine" in chosen:
            one_is_killed(url, "engine")
        if "update" in chosen:
            update_drops_nothing(url, port)
        say("a cluster does what it must")
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
