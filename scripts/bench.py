"""Speed beside faster-whisper's: the same weights, clips and machine, in one run.

Rounds alternate between the two, so that a noisy machine is noisy for both; what is reported is the
median of the rounds' real-time factors (seconds of audio a second) and their ratio.

Each decodes a clip once: the clip repeats its sentences, which looks like a loop and would be tried
again, but faster-whisper's batched pipeline knows no retry. The service keeps no encoder output
meanwhile, since it would know the clip again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from openai import OpenAI

from demo import running_service
from evaluation.systems import embedded_peer
from samples import samples_folder
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.settings import load_settings

CLIP_SECONDS = 24.7
ONE_TRY = {"compression_ratio_threshold": 100, "logprob_threshold": -100}


def dense_speech() -> Samples:
    """Speech without pauses, joined from the English samples."""
    parts = []
    for path in sorted((samples_folder() / "en").glob("*.wav")):
        with path.open("rb") as speech:
            parts.append(decode(speech, DecodeLimits(max_seconds=60, timeout_seconds=60)))
    return np.concatenate(parts * 4)[: round(CLIP_SECONDS * SAMPLE_RATE)]


def long_clip(folder: Path) -> Path:
    samples = dense_speech()
    target = folder / "clip.wav"
    with wave.open(str(target), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return target


def service_runner(url: str, clip: Path) -> Callable[[int], None]:
    client = OpenAI(base_url=f"{url}/api/v1", api_key="none", timeout=1200)

    def one(_: int) -> None:
        client.audio.transcriptions.create(model="whisper-1", file=clip, extra_body=ONE_TRY)

    def run(clips: int) -> None:
        with ThreadPoolExecutor(clips) as pool:
            list(pool.map(one, range(clips)))

    return run


def peer_runner(model_folder: Path, clip: Path) -> Callable[[int], None]:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = BatchedInferencePipeline(WhisperModel(str(model_folder), compute_type="float32"))

    def run(clips: int) -> None:
        for _ in range(clips):
            segments, _info = model.transcribe(str(clip), beam_size=1, batch_size=8)
            for _segment in segments:
                pass

    return run


def rtfx(run: Callable[[int], None], clips: int) -> float:
    began = time.perf_counter()
    run(clips)
    return clips * CLIP_SECONDS / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("bench-results/bench.json"))
    arguments = parser.parse_args()
    os.environ["WHISPER_ENCODER_CACHE_WINDOWS"] = "0"
    rows = []
    with tempfile.TemporaryDirectory() as scratch, running_service() as (_, url):
        clip = long_clip(Path(scratch))
        service = service_runner(url, clip)
        peer = peer_runner(embedded_peer(load_settings().cache_dir), clip)
        service(1)
        peer(1)
        for clips in arguments.in_flight:
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(rtfx(service, clips))
                theirs.append(rtfx(peer, clips))
            mine, other = statistics.median(ours), statistics.median(theirs)
            rows.append({"in_flight": clips, "service": ours, "faster_whisper_float32": theirs})
            print(
                f"{clips:3d} in flight: RTFx {mine:6.1f}  faster-whisper float32 {other:6.1f}  "
                f"ratio {mine / other:.2f}",
                flush=True,
            )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
