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
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.speech import Speech
from whisper_service.checkpoints.checkpoint import read_checkpoint
from whisper_service.checkpoints.resolve import resolve_model
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.engine.decoding_rules import Carriers
from whisper_service.engine.engine import DecodingRequest, WhisperEngine
from whisper_service.engine.logprobs import requested_tokens
from whisper_service.engine.parameters import RuleParameters
from whisper_service.engine.profiles import choose, detect_device, with_kv_cache
from whisper_service.settings import load_settings
from whisper_service.whisper.vocabulary import Vocabulary

CLIP_SECONDS = 24.7
TOKENS = 110  # about what a window of dense speech says


class Measurement:
    """Windows through the running engine, with and without what is measured."""

    def __init__(self, engine: WhisperEngine, vocabulary: Vocabulary, speech: Samples) -> None:
        self._llm = engine._llm  # noqa: SLF001  # past the service's own requests
        self._vocabulary = vocabulary
        self._speech = speech
        self._count = 0

    def another(self) -> Samples:
        """The same speech, but another window to the cache of the encoder's outputs."""
        self._count += 1
        quiet = np.float32(1e-4 * np.sin(self._count))
        return np.asarray(self._speech + quiet, dtype=np.float32)

    async def tokens(self, samples: Samples, **options: Any) -> None:
        """One window, TOKENS tokens long."""
        from vllm import SamplingParams

        parameters = SamplingParams(
            temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False, **options
        )
        inputs = {
            "encoder_prompt": {
                "prompt": "",
                "multi_modal_data": {"audio": (samples, SAMPLE_RATE)},
            },
            "decoder_prompt": {"prompt_token_ids": [self._vocabulary.start_of_transcript]},
        }
        async for _ in self._llm.generate(inputs, parameters, request_id=uuid.uuid4().hex):
            pass

    async def bare(self) -> None:
        await self.tokens(self.another())

    async def with_rules(self) -> None:
        await self.tokens(self.another(), extra_args=RuleParameters().as_extra_args())

    async def with_rules_and_logprobs(self) -> None:
        """As the service asks: the numbers that it needs come with each token."""
        carriers = Carriers.of(self._vocabulary)
        await self.tokens(
            self.another(),
            extra_args=RuleParameters().as_extra_args(),
            logprob_token_ids=requested_tokens(carriers),
            flat_logprobs=True,
        )


async def seconds(work: Callable[[], Awaitable[Any]], in_flight: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return time.perf_counter() - began


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = load_settings()
    profile = choose(settings.profile, detect_device())
    model = resolve_model(settings.model or profile.default_model, settings.cache_dir)
    checkpoint = read_checkpoint(model)
    vocabulary = checkpoint.vocabulary
    profile = with_kv_cache(profile, checkpoint.kv_values)
    engine = WhisperEngine(model, vocabulary, profile, encoder_cache_windows=64)
    await engine.start()
    try:
        one = Measurement(engine, vocabulary, Speech().take(CLIP_SECONDS))
        ways = {
            "bare": one.bare,
            "rules": one.with_rules,
            "rules, log-probabilities": one.with_rules_and_logprobs,
        }
        rounds: dict[str, list[float]] = {name: [] for name in ways}
        retries: dict[str, list[float]] = {"encoded again": [], "output kept": []}
        for way in ways.values():
            await seconds(way, arguments.in_flight)
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                rounds[name].append(await seconds(way, arguments.in_flight))
        for _ in range(arguments.rounds * 2):
            window = DecodingRequest(one.another())
            retries["encoded again"].append(await seconds(lambda: engine.decode(window), 1))  # noqa: B023
            retries["output kept"].append(await seconds(lambda: engine.decode(window), 1))  # noqa: B023
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
