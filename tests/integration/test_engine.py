"""The real engine by itself, started in both ways: what runs in it, and how often it encodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from prometheus_client import REGISTRY

from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.engine.aligner import AlignmentRequest
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.launcher import Launcher
from whisper_service.engine.requests import DecodingRequest, EngineFacts
from whisper_service.engine.worker.plugin import ARCHITECTURE, PluginNotLoadedError
from whisper_service.resolve import ResolvedEngine, resolve_engine
from whisper_service.settings import Settings

CLIPS = 64
SECONDS = 0.6
PROBE = "tests.integration.engine_probe.EngineProbe"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports


def resolved(*, forked: bool) -> ResolvedEngine:
    settings = Settings(_env_file=None, profile="cpu")
    found = resolve_engine(settings, {"worker_extension_cls": PROBE})
    if forked:
        return found
    direct = Launcher(found.profile, found.overrides)
    return ResolvedEngine(**{**vars(found), "launcher": direct})


@dataclass(frozen=True)
class Running:
    engine: WhisperEngine
    facts: EngineFacts
    forked: bool


@pytest.fixture(scope="module", params=[True, False], ids=["fork server", "spawn"])
def loop_and_engine(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, Running]]:
    """One engine for the module's tests, in a loop of its own."""
    with asyncio.Runner() as runner:
        engine = resolved(forked=request.param).engine()
        facts = runner.run(engine.start())
        yield runner, Running(engine, facts, request.param)
        runner.run(engine.stop())


def windows() -> list[Samples]:
    """Short clips of a sweep and noise, each another one."""
    time = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    chance = np.random.default_rng(0)
    return [
        (np.sin(time * (200 + 40 * number)) / 4 + chance.normal(0, 0.02, len(time))).astype(
            np.float32
        )
        for number in range(CLIPS)
    ]


async def decode_and_align(engine: WhisperEngine, max_windows: int) -> None:
    """Two tries of each window, then its words' times, as a doubted text with words has it.

    As many windows at once as the service has places for.
    """
    places = asyncio.Semaphore(max_windows)

    async def one(samples: Samples) -> None:
        first = DecodingRequest(samples, keep=True)
        again = DecodingRequest(samples, keep=True, key=first.key, temperature=0.4)
        async with places:
            language = (await engine._decode(first, max_tokens=4)).language
            await engine._decode(again, max_tokens=4)
        text = (1_000, 2_000)
        await engine.align(AlignmentRequest(first.key, samples, language, first.task, text))

    await asyncio.gather(*(one(samples) for samples in windows()))


def alignments(outcome: str) -> float:
    found = REGISTRY.get_sample_value("whisper_alignments_total", {"outcome": outcome})
    return found or 0.0


def test_the_worker_runs_the_services_own_model_class(
    loop_and_engine: tuple[asyncio.Runner, Running],
) -> None:
    _, running = loop_and_engine
    assert running.facts.model_class == ARCHITECTURE
    assert running.facts.attention_backend == "CPU_ATTN"


def test_an_engine_that_was_launched_the_gpus_way_has_nothing_of_the_cpus(
    loop_and_engine: tuple[asyncio.Runner, Running],
) -> None:
    runner, running = loop_and_engine
    (modules,) = runner.run(running.engine._call("probe_cpu_modules"))
    assert bool(modules) is running.forked
    assert (running.facts.own_kernels != "none") is running.forked


def test_retries_and_alignment_skip_the_encoder(
    loop_and_engine: tuple[asyncio.Runner, Running],
) -> None:
    runner, running = loop_and_engine
    (before,) = runner.run(running.engine._call("probe_encoded_windows"))
    aligned, again = alignments("aligned"), alignments("encoded_again")
    runner.run(decode_and_align(running.engine, running.facts.max_windows))
    (after,) = runner.run(running.engine._call("probe_encoded_windows"))
    assert CLIPS <= after - before <= CLIPS + 2
    assert alignments("aligned") - aligned + alignments("encoded_again") - again == CLIPS
    assert alignments("encoded_again") - again <= 2
    assert alignments("estimated") == 0


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
