"""A recording of hours through the service: its words, its time, and what memory it takes."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psutil

from evaluation.corpus import Clip, encode_opus
from evaluation.joined import around
from evaluation.report import Goal, Section
from evaluation.systems import Service
from evaluation.text import align, words

MEGABYTE = 1024 * 1024
LOOK_SECONDS = 0.25  # between two looks at the memory


def hours(service: Service, clips: Sequence[Clip], seconds: float, seed: int) -> Section:
    """Every word of a recording of so many seconds, with silences of 2 to 20 s between the clips.

    The language is given: which one a recording is in is another section's question.
    """
    rng = random.Random(seed)
    recording, _ = around(rng.choice(clips), clips, seconds, rng)
    language = clips[0].language
    audio = encode_opus(recording.samples)
    service.transcribe(clips[0].data, language)  # whatever is loaded only once
    with Memory(service.url) as memory:
        answer = service.transcribe(audio, language)
    found = align(words(recording.reference, language), words(answer.text, language))
    samples = recording.samples.nbytes / MEGABYTE
    rows: list[tuple[object, ...]] = [
        (
            f"{recording.seconds / 3600:.2f}",
            f"{len(audio) / MEGABYTE:.1f}",
            answer.seconds,
            recording.seconds / answer.seconds,
            found.words,
            found.lost,
            found.doubled,
            found.invented,
            found.changed,
            samples,
            memory.before,
            memory.growth,
        )
    ]
    header = (
        "hours", "upload MB", "took s", "RTFx", "words", "lost", "doubled", "invented", "changed",
        "as samples MB", "memory before MB", "grew at most by MB",
    )  # fmt: skip
    notes = [
        "Memory: resident sizes of the service's processes together, shared pages counted in each.",
        "RTFx: seconds of audio a second; about half of this recording is silence.",
    ]
    data = {"seconds": recording.seconds, "answer_seconds": answer.seconds, **asdict(found)}
    data |= {"memory_before": memory.before, "memory_growth": memory.growth}
    goals = [
        Goal("words lost in hours", found.lost, 0),
        Goal("words doubled in hours", found.doubled, 0),
    ]
    return Section("Hours", header, rows, {"hours": data}, goals, notes)


class Memory:
    """Watches the processes that serve an address on this machine.

    before, growth: megabytes; None where the service runs elsewhere.
    """

    def __init__(self, url: str) -> None:
        self._server = _listening(urlsplit(url).port or 80)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self._peak = self._resident()

    @property
    def growth(self) -> float | None:
        if self.before is None or self._peak is None:
            return None
        return self._peak - self.before

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            now = self._resident()
            if now is not None and self._peak is not None:
                self._peak = max(self._peak, now)

    def _resident(self) -> float | None:
        if self._server is None:
            return None
        total = 0
        for process in (self._server, *self._server.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:  # a decoder that has done its part
                continue
        return total / MEGABYTE


def _listening(port: int) -> psutil.Process | None:
    """The process that listens on a port of this machine."""
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
            return psutil.Process(one.pid)
    return None
