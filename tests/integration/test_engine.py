"""The real engine by itself, started in both ways: what runs in it, and how often it encodes."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tests.conftest import Clip
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.engine.aligner import AlignmentRequest
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.launcher import Launcher
from whisper_service.engine.requests import DecodingRequest, EngineFacts
from whisper_service.engine.worker.plugin import ARCHITECTURE, PluginNotLoadedError
from whisper_service.resolve import ResolvedEngine, resolve_engine
from whisper_service.settings import Settings

CLIPS = 64
PROBE = "tests.integration.engine_probe.EngineProbe"

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what vLLM imports
    # vLLM's client leaves the end of its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def resolved(*, forked: bool) -> ResolvedEngine:
    settings = Settings(_env_file=None, profile="cpu")
    found = resolve_engine(settings, {"worker_extension_cls": PROBE})
    if forked:
        return found
    direct = Launcher(found.profile, found.overrides)
    return ResolvedEngine(**{**vars(found), "launcher": direct})


@dataclass(frozen=True)
class Running:
    """An engine that its launcher has started, and the loop that it lives in."""

    engine: WhisperEngine
    facts: EngineFacts
    runner: asyncio.Runner

    def ask(self, method: str) -> Any:
        (answer,) = self.runner.run(self.engine._call(method))
        return answer


@contextmanager
def running(*, forked: bool) -> Iterator[Running]:
    with asyncio.Runner() as runner:
        engine = resolved(forked=forked).engine()
        facts = runner.run(engine.start())
        try:
            yield Running(engine, facts, runner)
        finally:
            runner.run(engine.stop())
    del engine, runner
    gc.collect()  # what vLLM leaves to it warns now, and not in another test


@pytest.fixture(scope="module", autouse=True)
def own_environment() -> Iterator[None]:
    """Engines set variables for their processes, which other tests' servers must not inherit."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="module")
def forked(own_environment: None) -> Iterator[Running]:
    with running(forked=True) as engine:
        yield engine


def windows(clips: dict[str, Clip]) -> list[Samples]:
    """64 windows of real speech, each of two clips: about 5 s."""
    limits = DecodeLimits(max_seconds=30, timeout_seconds=30)
    spoken = []
    for clip in clips.values():
        with clip.path.open("rb") as file:
            spoken.append(decode(file, limits))
    pairs = product(spoken, spoken)
    return [np.concatenate(pair) for pair in islice(pairs, CLIPS)]


async def decode_and_align(running: Running, samples: Sequence[Samples]) -> None:
    """Two tries of each window, then its words' times, as a doubted text with words has it.

    As many windows at once as the service has places for.
    """
    places, engine = asyncio.Semaphore(running.facts.max_windows), running.engine

    async def one(window: Samples) -> None:
        first = DecodingRequest(window, keep=True)
        again = DecodingRequest(window, keep=True, key=first.key, temperature=0.4)
        async with places:
            language = (await engine.decode(first)).language
            await engine.decode(again)
        text = (1_000, 2_000)
        times = await engine.align(AlignmentRequest(first.key, window, language, first.task, text))
        assert len(times) == len(text) + 1

    await asyncio.gather(*(one(window) for window in samples))


def alignments(outcome: str) -> float:
    found = REGISTRY.get_sample_value("whisper_alignments_total", {"outcome": outcome})
    return found or 0.0


def test_from_the_fork_server_the_worker_runs_the_services_own_model_class(
    forked: Running,
) -> None:
    assert forked.facts.model_class == ARCHITECTURE
    assert forked.facts.own_kernels != "none"
    assert forked.ask("probe_cpu_modules")


def test_retries_and_alignment_skip_the_encoder(forked: Running, clips: dict[str, Clip]) -> None:
    before = forked.ask("probe_encoded_windows")
    aligned, again = alignments("aligned"), alignments("encoded_again")
    forked.runner.run(decode_and_align(forked, windows(clips)))
    assert CLIPS <= forked.ask("probe_encoded_windows") - before <= CLIPS + 2
    again = alignments("encoded_again") - again
    assert alignments("aligned") - aligned + again == CLIPS
    assert again <= 2


def test_launched_the_gpus_way_the_engine_has_nothing_of_the_cpus() -> None:
    with running(forked=False) as spawned:
        assert spawned.facts.model_class == ARCHITECTURE
        assert spawned.facts.own_kernels == "none"
        assert spawned.ask("probe_cpu_modules") == []
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        spawned.runner.run(decode_and_align(spawned, [noise]))


@pytest.fixture
async def without_plugins(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """As where the operator allows other plugins only; vLLM's process may have loaded ours."""
    from vllm import ModelRegistry, envs, plugins

    monkeypatch.setenv("VLLM_PLUGINS", "lora_filesystem_resolver")
    monkeypatch.setattr(plugins, "plugins_loaded", False)
    monkeypatch.delitem(ModelRegistry.models, ARCHITECTURE, raising=False)
    cached = getattr(envs.__getattr__, "cache_clear", None)
    if cached:
        cached()
    yield
    if cached:
        cached()


@pytest.mark.usefixtures("without_plugins")
async def test_an_engine_without_the_plugin_says_what_to_change() -> None:
    engine = resolved(forked=False).engine()
    with pytest.raises(PluginNotLoadedError, match="Add `whisper_service` to VLLM_PLUGINS"):
        await engine.start()
    await engine.stop()
