"""A transcriber in a process of its own, told what to do in lines of JSON on its standard input.

    python scripts/benchmark/worker.py NAME [JSON with options]

Each line `{"files": [paths of .npy]}` is answered with `{"seconds": s, "texts": […]}`. So each
peer's memory and imports are its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

Transcribe = Callable[[list[Any]], list[str]]


def faster_whisper(options: dict[str, Any]) -> Transcribe:
    """One after the other, or a recording's windows in batches; no retries, as in all peers."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(
        options["folder"], compute_type=options["compute"], cpu_threads=os.cpu_count() or 1
    )
    pipeline = BatchedInferencePipeline(model)

    def transcribe(many: list[Any]) -> list[str]:
        texts = []
        for samples in many:
            if options["batch"] > 1:
                segments, _ = pipeline.transcribe(
                    samples, beam_size=1, language="en", batch_size=options["batch"]
                )
            else:
                segments, _ = model.transcribe(
                    samples,
                    beam_size=1,
                    language="en",
                    temperature=0.0,
                    condition_on_previous_text=False,
                    vad_filter=True,
                )
            texts.append("".join(segment.text for segment in segments))
        return texts

    return transcribe


def openai_whisper(options: dict[str, Any]) -> Transcribe:
    """OpenAI's own package, in float32, with the embedded model's weights under its names."""
    import torch

    from benchmark.openai_weights import load_openai_model

    torch.set_num_threads(os.cpu_count() or 1)
    model = load_openai_model(Path(options["folder"]))

    def transcribe(many: list[Any]) -> list[str]:
        return [
            str(
                model.transcribe(
                    samples,
                    language="en",
                    temperature=0.0,
                    condition_on_previous_text=False,
                    fp16=False,
                )["text"]
            )
            for samples in many
        ]

    return transcribe


def bare_engine(options: dict[str, Any]) -> Transcribe:
    """The engine of vLLM with the service's arguments, and nothing of the service's in it.

    Greedy, from <|startoftranscript|>, language and task to the end of the text: no rules, no
    log-probabilities, no HTTP. It is given whole windows.
    """
    from benchmark.bare import BareEngine

    loop = asyncio.new_event_loop()
    engine = loop.run_until_complete(BareEngine.start(options))

    def transcribe(many: list[Any]) -> list[str]:
        return loop.run_until_complete(engine.transcribe(many))

    return transcribe


KINDS = {"faster-whisper": faster_whisper, "openai-whisper": openai_whisper, "bare": bare_engine}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    transcribe = KINDS[sys.argv[1]](json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        many = [np.load(path) for path in asked["files"]]
        began = time.perf_counter()
        texts = transcribe(many)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "texts": texts}), file=answers, flush=True)


if __name__ == "__main__":
    main()
