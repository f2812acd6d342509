"""Runs the built CPU image as an operator would, and tells whether it does what it must.

Without a network, with a read-only root, without capabilities: start, ready, transcribe, drain.
Exits 0 when all of it was seen. Build the image first, as docker/Dockerfile.cpu says, or with
`scripts/build_image.sh` where there is no Docker engine.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import subprocess
import sys
import time
import uuid
import wave
from pathlib import Path

import numpy as np

from samples import samples_folder
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE

START_SECONDS = 420
DRAIN_SECONDS = 60  # 30 would do on a machine that has nothing else to do
GRACE_SECONDS = DRAIN_SECONDS + 30
HARDENED = (
    "--read-only", "--tmpfs=/tmp:rw,size=512m,mode=1777", "--shm-size=1g", "--cap-drop=all",
    "--security-opt=no-new-privileges", "--network=none",
    f"--env=WHISPER_DRAIN_SECONDS={DRAIN_SECONDS}",
)  # fmt: skip

# Runs inside, where the service is; takes a WAV file on standard input.
CLIENT = """
import sys, httpx
answer = httpx.post(
    "http://127.0.0.1:8000/v1/audio/transcriptions",
    files={"file": ("speech.wav", sys.stdin.buffer.read())},
    data={"model": "whisper-1"},
    timeout=600,
)
print(answer.status_code, answer.json().get("text", answer.text))
"""

FACTS = """
import json, os, pathlib, socket
status = pathlib.Path("/proc/self/status").read_text()
def writable(folder):
    try:
        pathlib.Path(folder, "probe").touch()
    except OSError:
        return False
    return True
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status.split("CapEff:")[1].split()[0], 16),
    "no_new_privileges": int(status.split("NoNewPrivs:")[1].split()[0]),
    "writable": [each for each in ("/", "/opt", "/etc", "/var/tmp", "/tmp") if writable(each)],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "init": pathlib.Path("/proc/1/comm").read_text().strip(),
}))
"""


def speech(seconds: float) -> bytes:
    """A WAV file of English clips, repeated until it is so long."""
    parts = []
    for path in sorted((samples_folder() / "en").glob("*.wav")):
        with path.open("rb") as clip:
            parts.append(decode(clip, DecodeLimits(max_seconds=60, timeout_seconds=60)))
    once = np.concatenate(parts)
    samples = np.tile(once, int(seconds * SAMPLE_RATE / len(once)) + 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes((samples[: int(seconds * SAMPLE_RATE)] * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


class Container:
    def __init__(self, engine: list[str], image: str, arguments: list[str]) -> None:
        self._engine = engine
        if Path(engine[0]).name == "podman":
            # Unlike Docker it would mount a writable /run and /var/tmp as well.
            arguments = ["--read-only-tmpfs=false", *arguments]
        self.name = f"whisper-image-test-{uuid.uuid4().hex[:8]}"
        self.began = time.monotonic()
        self.do("run", "--detach", "--name", self.name, *HARDENED, *arguments, image)

    def do(self, *command: str) -> str:
        done = subprocess.run(
            [*self._engine, *command], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def inside(self, *command: str, stdin: bytes = b"") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*self._engine, "exec", "--interactive", self.name, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        return process

    def ask(self, *command: str, stdin: bytes = b"") -> tuple[int, str]:
        process = self.inside(*command, stdin=stdin)
        out, error = process.communicate()
        return process.returncode, (out or error).decode().strip()

    @property
    def runs(self) -> bool:
        return self.do("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    def exit_code(self) -> int:
        return int(self.do("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def log(self) -> str:
        done = subprocess.run(
            [*self._engine, "logs", self.name], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def remove(self) -> None:
        subprocess.run(
            [*self._engine, "rm", "--force", self.name], capture_output=True, check=False
        )


def seen(what: str, *, holds: bool, detail: object = "") -> None:
    print(f"{'ok  ' if holds else 'FAIL'}  {what}  {detail}", flush=True)
    if not holds:
        raise AssertionError(what)


def wait_until_ready(container: Container) -> None:
    while container.runs and time.monotonic() - container.began < START_SECONDS:
        code, said = container.ask("python", "-m", "whisper_service.healthcheck")
        if code == 0:
            waited = time.monotonic() - container.began
            seen("the health check says ready", holds=True, detail=f"after {waited:.0f} s: {said}")
            return
        time.sleep(1)
    raise AssertionError("it does not become ready")


def check_confinement(container: Container) -> None:
    _, said = container.ask("python", "-c", FACTS)
    facts = json.loads(said)
    expected = {
        "uid": 10001,
        "capabilities": 0,
        "no_new_privileges": 1,
        "writable": ["/tmp"],
        "interfaces": ["lo"],
        "init": "tini",
    }
    for name, value in expected.items():
        seen(f"{name} is {value}", holds=facts[name] == value, detail=facts)


def check_drain(container: Container) -> None:
    working = container.inside("python", "-c", CLIENT, stdin=speech(120))
    while "whisper_requests_in_flight 2.0" not in container.ask("python", "-c", METRICS)[1]:
        if working.poll() is not None:
            raise AssertionError("the long recording was done too early to see the drain")
    began = time.monotonic()
    container.do("kill", "--signal", "TERM", container.name)
    out, error = working.communicate(timeout=GRACE_SECONDS)
    answer = (out or error).decode()
    seen("what was accepted is answered", holds=answer.startswith("200 "), detail=answer[:60])
    while container.runs and time.monotonic() - began < GRACE_SECONDS:
        time.sleep(0.2)
    seen(
        "it stopped by itself, with 0, within the grace period",
        holds=not container.runs and container.exit_code() == 0,
        detail=f"{time.monotonic() - began:.1f} s",
    )


METRICS = "import httpx; print(httpx.get('http://127.0.0.1:8000/metrics').text)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="whisper-service:cpu")
    parser.add_argument("--engine", default="docker", help="docker, or podman with its options")
    parser.add_argument(
        "--run-arguments", default="", help="further arguments of `run`, such as -e NAME=value"
    )
    arguments = parser.parse_args()
    engine = shlex.split(arguments.engine)
    container = Container(engine, arguments.image, shlex.split(arguments.run_arguments))
    try:
        wait_until_ready(container)
        check_confinement(container)
        code, text = container.ask("python", "-c", CLIENT, stdin=speech(10))
        seen("speech is transcribed", holds=code == 0 and text.startswith("200 "), detail=text[:90])
        check_drain(container)
    except (AssertionError, KeyError, ValueError) as failure:
        sys.exit(f"{container.log()}\n{failure}")
    finally:
        container.remove()
    print("the image does what it must")


if __name__ == "__main__":
    main()
