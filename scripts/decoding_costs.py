"""What the decoding rules cost the engine, and what keeping the encoder's outputs saves a retry.

Both in one run of one engine, in rounds that alternate, so that a noisy machine is noisy for all.
Every request makes the same number of tokens, whatever its text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.fixed import RULES, FixedWindows, rules_and_logprobs
from benchmark.speech import Speech
from whisper_service.engine.requests import DecodingRequest
from whisper_service.resolve import resolve_engine
from whisper_service.settings import load_settings

CLIP_SECONDS = 24.7
TOKENS = 110  # about what a window of dense speech says


async def seconds(work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = load_settings()
    resolved = replace(resolve_engine(settings), encoder_cache_windows=64)
    vocabulary, engine = resolved.checkpoint.vocabulary, resolved.engine()
    await engine.start()
    try:
        windows = FixedWindows(engine, vocabulary, TOKENS, Speech().take(CLIP_SECONDS))
        ways: dict[str, dict[str, Any]] = {
            "bare": {"seed": None},
            "rules": RULES,
            "rules, log-probabilities": rules_and_logprobs(vocabulary),
        }
        rounds: dict[str, list[float]] = {name: [] for name in ways}
        retries: dict[str, list[float]] = {"encoded again": [], "output kept": []}
        for options in ways.values():
            await windows.run(arguments.in_flight, **options)
        for _ in range(arguments.rounds):
            for name, options in ways.items():
                rounds[name].append(await windows.run(arguments.in_flight, **options))
        for _ in range(arguments.rounds * 2):
            window = DecodingRequest(windows.another())
            retries["encoded again"].append(await seconds(engine.decode(window)))
            retries["output kept"].append(await seconds(engine.decode(window)))
    finally:
        await engine.stop()
    return {"in_flight": arguments.in_flight, "rounds": rounds, "a try": retries}


def show(title: str, times: dict[str, list[float]], windows: int) -> None:
    """Medians, and the quickest rounds: what else the machine does only ever adds to a round."""
    base, *_ = times
    print(title)
    for name, each in times.items():
        median, quickest = statistics.median(each), min(each)
        print(
            f"  {name:26} median {median:6.2f} s, quickest {quickest:6.2f} s: "
            f"RTFx {windows * CLIP_SECONDS / quickest:5.1f}, "
            f"speed {min(times[base]) / quickest:.3f} of {base}'s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("bench-results/decoding_costs.json"))
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments))
    show(f"{arguments.in_flight} windows of {TOKENS} tokens", found["rounds"], arguments.in_flight)
    show("one window, a try", found["a try"], 1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
