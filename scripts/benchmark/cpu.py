"""The comparison on a CPU: every peer on the same machine, weights and audio, in turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from benchmark.peers import Peer, PeerFailedError, Pings, Run, Server, Service, VllmServer, Worker
from benchmark.results import Ratio, Results, at_least, at_most
from benchmark.speech import Audio, clips, recording, short_clips
from evaluation.systems import embedded_peer
from whisper_service.checkpoints.resolve import resolve_model
from whisper_service.engine.devices import detect_device
from whisper_service.engine.profiles import choose
from whisper_service.settings import load_settings

OURS, VLLM, BARE = "whisper-service", "vLLM's server", "bare engine"
FASTEST_OTHER = "faster-whisper int8, batched"
CLIP_SECONDS = 25.0
SHORT = 32  # clips of 2 to 5 s, at once


@dataclass(frozen=True)
class Plan:
    """in_flight: numbers of clips at once; minutes: of the recordings; goals_only: nothing else.

    Each transcriber makes loops of other clips, and one costs a round a tenth and more: where 16
    are in flight, the servers have more rounds.
    """

    in_flight: tuple[int, ...]
    minutes: tuple[float, ...]
    rounds: int = 3
    rounds_of_16: int = 7
    recording_rounds: int = 3
    singles: int = 4  # clips one after the other in a round, where one is in flight
    goals_only: bool = False


QUICK = Plan((1, 16), (10,), recording_rounds=2, singles=2, goals_only=True)
SMOKE = Plan((1, 2), (1,), rounds=1, rounds_of_16=1, recording_rounds=1, singles=1)
FULL = Plan((1, 4, 8, 16, 32), (10, 60))


def _ready(results: Results) -> float | None:
    found = results.numbers.get("ready_seconds", {}).get(OURS)
    return float(found) if found else None


def _memory(results: Results) -> float | None:
    memory = results.numbers.get("memory_mb", {})
    if OURS not in memory or BARE not in memory:
        return None
    return float(memory[OURS]["largest"] / memory[BARE]["largest"])


def _inverse(ratio: Ratio | None) -> Ratio | None:
    """As times, not as speeds."""
    if ratio is None:
        return None
    return Ratio(1 / ratio.value, 1 / ratio.greatest, 1 / ratio.least, ratio.rounds)


def _words(results: Results) -> Ratio | None:
    ratio = results.ratio(
        "clips, 16, no word times", OURS, OURS, other_work="clips, 16, word times"
    )
    if ratio is None:
        return None
    return Ratio(ratio.value - 1, ratio.least - 1, ratio.greatest - 1, ratio.rounds)


GOALS = (
    at_least(
        1.3,
        "clips, 16 in flight: speed beside vLLM's own server",
        lambda r: r.ratio("clips, 16 in flight", OURS, VLLM),
    ),
    at_least(
        0.95,
        "clips, 16 in flight: speed beside the bare engine",
        lambda r: r.ratio("clips, 16 in flight", OURS, BARE),
    ),
    at_least(
        2.0,
        "10 minutes of dense speech: speed beside faster-whisper's best",
        lambda r: r.ratio("10 min", OURS, FASTEST_OTHER),
    ),
    at_least(
        1.7,
        "10 minutes, half silent: speed beside dense speech",
        lambda r: r.ratio("10 min, half silent", OURS, OURS, other_work="10 min"),
    ),
    at_most(
        0.9,
        "one clip at a time: latency beside vLLM's own server",
        lambda r: _inverse(r.ratio("clips, 1 in flight", OURS, VLLM)),
    ),
    at_most(25, "process start to ready, embedded model", _ready, " s"),
    at_most(0.15, "word times, 16 in flight: added time", _words),
    at_most(1.15, "memory of the engine's process beside the bare engine's", _memory),
)


class Session:
    """The peers, started one after the other, and what is measured of them."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.results = Results()
        self._say = say
        self._running: list[Peer] = []
        settings = load_settings()
        profile = choose("cpu", detect_device())
        model = resolve_model("embedded", settings.cache_dir)
        cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        own = {"WHISPER_PROFILE": "cpu", "WHISPER_MODEL": "embedded"}
        same = ("dtype", "kv_cache_dtype", "block_size", "max_num_seqs", "max_num_batched_tokens")
        arguments = {name: profile.engine_args[name] for name in (*same, "max_model_len")}
        # All processors are its own, as they are the service's; the cache holds all its windows.
        theirs = {"VLLM_CPU_OMP_THREADS_BIND": cpus, "VLLM_CPU_KVCACHE_SPACE": "1"}
        self.service = Service(own)
        self.vllm = VllmServer(model, arguments, {**theirs, "VLLM_LOGGING_LEVEL": "ERROR"})
        self.bare = Worker(BARE, "bare", {}, own)
        folder = str(embedded_peer(settings.cache_dir))
        self.others: list[Peer] = [
            Worker(
                f"faster-whisper {compute}, {'batched' if batch > 1 else 'sequential'}",
                "faster-whisper",
                {"folder": folder, "compute": compute, "batch": batch},
            )
            for compute, batch in (
                [("int8", 8)]
                if plan.goals_only
                else [("int8", 8), ("float32", 8), ("int8", 1), ("float32", 1)]
            )
        ]
        if not plan.goals_only and _has_openai_whisper():
            self.others.append(Worker("openai-whisper", "openai-whisper", {"folder": model}))

    @property
    def peers(self) -> list[Peer]:
        return [self.service, self.vllm, self.bare, *self.others]

    @contextmanager
    def started(self) -> Iterator[None]:
        with ExitStack() as stack:
            for peer in self.peers:
                stack.callback(_stop, peer)
                self._say(f"starting {peer.name}")
                with self._surviving(f"the start of {peer.name}"):
                    peer.start()
                    peer.process.pause()
                    self._running.append(peer)
                    self._number("ready_seconds", peer.name, round(peer.ready_seconds, 1))
            yield
            for peer in self._running:
                self._number("memory_mb", peer.name, peer.process.memory())

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """One failure is told, and spoils nothing else of the run."""
        try:
            yield
        except (httpx.HTTPError, OSError, PeerFailedError) as error:
            self._say(f"{what} failed: {error}")
            self._number("failed", what, str(error)[-300:])

    def _number(self, kind: str, name: str, value: object) -> None:
        self.results.numbers.setdefault(kind, {})[name] = value

    def rounds(
        self,
        work: str,
        peers: Sequence[Peer],
        audio: Sequence[Sequence[Audio]],
        rounds: int,
        waits: list[float] | None = None,
    ) -> None:
        """Peers in turn, in each round with the same audio, in no round with another's.

        Args:
            work: its name.
            peers: who does it.
            audio: of each round; a round of one that is longer than a window is a recording.
            rounds: how many.
            waits: filled with the seconds of pings to the service while it works.
        """
        for number in range(rounds):
            # No clip comes twice: the service would know it, and vLLM its features.
            those = [each.anew() for each in audio[number % len(audio)]]
            seconds = sum(each.seconds for each in those)
            for peer in peers:
                if peer not in self._running:
                    continue
                with ExitStack() as stack:
                    stack.enter_context(self._surviving(f"{work} by {peer.name}"))
                    stack.enter_context(peer.process.turn())
                    if waits is not None and peer is self.service:
                        stack.enter_context(Pings(self.service.url, waits))
                    run = _run(peer, those)
                    self.results.add(work, peer.name, seconds, run.seconds, len(those))
                    self._number("last_text", f"{work}: {peer.name}", run.texts[0][:200])
        rates = {p.name: m.rate for p in peers if (m := self.results.of(work, p.name))}
        self._say(f"{work}: " + ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items()))

    def run(self) -> None:
        plan = self.plan
        servers: list[Peer] = [self.service, self.vllm, self.bare]
        with self.started():
            for peer in self._running:
                with peer.process.turn():
                    peer.clips(clips(CLIP_SECONDS, 2))  # whatever is made at the first request
            for number in plan.in_flight:
                others = number in (1, 16) and not plan.goals_only
                self._clips(number, servers, self.others if others else [])
            if not plan.goals_only:
                short = [short_clips(SHORT)]
                self.rounds(f"{SHORT} clips of 2 to 5 s", servers, short, plan.rounds)
            for minutes in plan.minutes:
                self._recordings(minutes)
            extras = () if plan.goals_only else (self._forms,)
            for step in (self._words, self._first_deltas, *extras):
                with self._surviving(step.__name__.removeprefix("_")):
                    step()

    def _clips(self, number: int, servers: list[Peer], others: list[Peer]) -> None:
        """So many at once; where it is one, several of them one after the other."""
        work = f"clips, {number} in flight"
        times = self.plan.rounds * (self.plan.singles if number == 1 else 1)
        most = max(times, self.plan.rounds_of_16) if number == 16 else times
        together = clips(CLIP_SECONDS, number * most)
        rounds = [together[start : start + number] for start in range(0, len(together), number)]
        if number != 16:
            self.rounds(work, [*servers, *others], rounds, times)
            return
        waits: list[float] = []
        self.rounds(work, [*servers, *others], rounds[:times], times, waits)
        self.rounds(work, servers, rounds[times:], most - times, waits)
        if not waits:
            return
        waits.sort()
        self._number("live_ms", "median", round(1e3 * statistics.median(waits), 1))
        self._number("live_ms", "99 of 100", round(1e3 * waits[int(0.99 * len(waits))], 1))
        self._number("live_ms", "longest", round(1e3 * waits[-1], 1))

    def _recordings(self, minutes: float) -> None:
        dense, half = recording(minutes), recording(minutes, half_silent=True)
        long = minutes > 10
        others = [p for p in self.others if p.name == FASTEST_OTHER or not long]
        rounds = 1 if long else self.plan.recording_rounds
        self.rounds(dense.name, [self.service, *others], [[dense]], rounds)
        also = [] if self.plan.goals_only else others[:1]
        self.rounds(half.name, [self.service, *also], [[half]], rounds)
        if not long and not self.plan.goals_only:
            self.rounds(dense.name, [self.vllm], [[dense]], 1)

    def _first_deltas(self) -> None:
        minutes = self.plan.minutes[0]
        recordings = {"25 s": clips(CLIP_SECONDS, 1)[0], f"{minutes:g} min": recording(minutes)}
        for name, audio in recordings.items():
            for server in (self.service, self.vllm):
                if server not in self._running:
                    continue
                takes = [audio.anew() for _ in range(self.plan.recording_rounds)]
                with server.process.turn():
                    times = [server.first_delta(take) for take in takes]
                self._number("first_delta_s", f"{name}: {server.name}", statistics.median(times))

    def _words(self) -> None:
        """Word times, where the service has them: beside the same clips without."""
        fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
        those = clips(CLIP_SECONDS, 32)
        for _ in range(self.plan.rounds):
            # The same audio for both, and between them as much other as the service remembers.
            halves = [[each.anew() for each in half] for half in (those[:16], those[16:])]
            with self.service.process.turn():
                plain = [
                    self.service.clips(half, response_format="verbose_json") for half in halves
                ]
                words = [self.service.clips(half, **fields) for half in halves]
            seconds = sum(each.seconds for each in those)
            for work, runs in ("no word times", plain), ("word times", words):
                took = sum(run.seconds for run in runs)
                self.results.add(f"clips, 16, {work}", OURS, seconds, took, 32)

    def _forms(self) -> None:
        """Every upload format and every answer's, beside as many plain requests."""
        audio = clips(CLIP_SECONDS, 16)
        seconds = sum(each.seconds for each in audio)
        containers = [
            ("wav", ""), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus"),
            ("webm", "libopus"), ("mp4", "aac"),
        ]  # fmt: skip
        answers = ("json", "text", "srt", "vtt", "verbose_json")
        for _ in range(self.plan.rounds):
            once, again = ([each.anew() for each in audio] for _ in range(2))
            uploads = [
                each.wav if not codec else each.encoded(container, codec)
                for each, (container, codec) in zip(again, containers * 3, strict=False)
            ]
            with self.service.process.turn():
                plain = self.service.clips(once)
                mixed = _mixed(self.service, uploads, answers)
            self.results.add("16 plain requests", OURS, seconds, plain.seconds, 16)
            self.results.add("16 of all formats, streams too", OURS, seconds, mixed, 16)


def _run(peer: Peer, audio: Sequence[Audio]) -> Run:
    if len(audio) == 1 and audio[0].seconds > 30:
        return peer.recording(audio[0])
    return peer.clips(audio)


def _mixed(server: Server, uploads: Sequence[bytes], answers: Sequence[str]) -> float:
    """Each upload with another answer's format, every third as a stream; seconds for all."""
    import asyncio

    async def one(http: httpx.AsyncClient, number: int, data: bytes) -> None:
        fields = {**server.fields, "response_format": answers[number % len(answers)]}
        if number % 3 == 0:
            fields |= {"stream": "true", "response_format": "json"}
        response = await http.post(
            server.url + server.path, data=fields, files={"file": ("audio", data)}
        )
        response.raise_for_status()

    async def all_of_them() -> None:
        async with httpx.AsyncClient(timeout=600) as http:
            await asyncio.gather(*(one(http, n, data) for n, data in enumerate(uploads)))

    began = time.perf_counter()
    asyncio.run(all_of_them())
    return time.perf_counter() - began


def _stop(peer: Peer) -> None:
    if hasattr(peer, "process"):
        peer.stop()


def _has_openai_whisper() -> bool:
    from importlib.util import find_spec

    return find_spec("whisper") is not None
