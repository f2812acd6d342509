"""Starts the service on the CPU, transcribes recorded speech through the OpenAI SDK, stops it.

Exits 0 when every clip was transcribed and the service stopped in order.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from openai import OpenAI

from samples import samples_folder

START_SECONDS = 600  # on a slow machine, with every core busy
STOP_SECONDS = 60
CLIPS = (
    "en/counting", "en/hello_world", "en/quick_brown_fox", "fr/comptage", "it/conteggio",
    "pt/pangrama", "zh/nihao_shijie",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service as a process of its own, and its address; ready when it is yielded."""
    port = free_port()
    environment = {
        **os.environ,
        "WHISPER_HOST": "127.0.0.1",
        "WHISPER_PORT": str(port),
        "WHISPER_PROFILE": "cpu",
        "WHISPER_MODEL": "embedded",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "whisper_service"],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for this script, which then stops the service
    )
    threading.Thread(target=show_log, args=(process,), daemon=True).start()
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}")
        yield process, f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Ends the service as an orchestrator does: by a signal, and if need be by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def show_log(process: subprocess.Popen[str]) -> None:
    for line in process.stderr or ():
        if " whisper_service.access " not in line:
            print(f"    {line.rstrip()}", flush=True)


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    began = time.monotonic()
    next_word = 15.0
    while process.poll() is None:
        waited = time.monotonic() - began
        try:
            if httpx.get(f"{url}/health/ready", timeout=2).status_code == 200:
                print(f"==> ready after {waited:.0f} s", flush=True)
                return
        except httpx.TransportError:
            pass
        if waited > START_SECONDS:
            sys.exit(f"The service was not ready after {START_SECONDS} s; its log stands above.")
        if waited > next_word:
            print(f"    … still starting after {waited:.0f} s", flush=True)
            next_word += 15
        time.sleep(0.5)
    sys.exit(f"The service ended with {process.returncode}; its log stands above.")


def transcribe(url: str) -> None:
    client = OpenAI(base_url=f"{url}/api/v1", api_key="none")
    for name in CLIPS:
        clip = samples_folder() / f"{name}.wav"
        began = time.monotonic()
        with clip.open("rb") as file:
            result = client.audio.transcriptions.create(model="whisper-1", file=file)
        seconds = time.monotonic() - began
        print(f"\n{name}.wav  ({seconds:.1f} s)")
        print(f"  said:  {clip.with_suffix('.txt').read_text().strip()}")
        print(f"  heard: {result.text}", flush=True)


def main() -> None:
    print("==> starting the service (preparing the model, then the engine)", flush=True)
    with running_service() as (process, url):
        transcribe(url)
        print("\n==> stopping the service", flush=True)
    if process.returncode != 0:
        sys.exit(f"The service ended with {process.returncode}, not with 0.")
    print("==> stopped. `make serve` keeps it running; see the README.")


if __name__ == "__main__":
    main()
