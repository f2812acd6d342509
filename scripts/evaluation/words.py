"""Words' times: beside faster-whisper's, against the truth, and what they cost."""

from __future__ import annotations

import asyncio
import difflib
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
import numpy as np

from evaluation import joined
from evaluation.corpus import SAMPLE_RATE, Clip, Samples, encode_flac
from evaluation.report import Goal, Section
from evaluation.systems import Peer, Service, SpokenWord
from evaluation.text import words as plain_words

MEDIAN, WORST = 0.02, 0.1  # seconds from faster-whisper's, at the median and the 95th percentile
SHARE = 0.15  # of the time without words, on a saturated engine
DENSE_SECONDS = 24.7
ONE_TRY = {"compression_ratio_threshold": "100", "logprob_threshold": "-100"}
ASKED = {
    "response_format": "verbose_json",
    "timestamp_granularities[]": "word",
}


@dataclass(frozen=True)
class Errors:
    """Seconds that starts and ends of words are off."""

    starts: list[float]
    ends: list[float]

    def row(self) -> tuple[object, ...]:
        both = (self.starts, self.ends)
        measured = (round(1000 * of(each)) for each in both for of in (middle, worst))
        return (len(self.starts), *measured)


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def worst(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return float(np.quantile(values, 0.95))


HEADER = ("words", "start, median ms", "start, 95% ms", "end, median ms", "end, 95% ms")


def beside_peer(service: Service, peer: Peer, clips: Sequence[Clip]) -> Section:
    """Clips alone, without voice activity detection: both see the very same window."""
    rows: list[tuple[object, ...]] = []
    data = []
    differences: list[float] = []
    total = Errors([], [])
    for language in sorted({clip.language for clip in clips}):
        errors = Errors([], [])
        for clip in clips:
            if clip.language != language:
                continue
            ours = service.words(clip.data, language, vad=False)
            theirs = peer.words(clip.data, language, vad=False)
            for one, other in matched(ours, theirs, language):
                errors.starts.append(abs(one.start - other.start))
                errors.ends.append(abs(one.end - other.end))
                differences.append(abs(one.probability - other.probability))
                data.append(
                    {"clip": clip.name, "word": one.word, "ours": [one.start, one.end],
                     "theirs": [other.start, other.end],
                     "probabilities": [one.probability, other.probability]}
                )  # fmt: skip
        if errors.starts:
            rows.append((language, *errors.row()))
            total.starts.extend(errors.starts)
            total.ends.extend(errors.ends)
    rows.append(("all", *total.row()))
    goals = []
    for name, values in (("start", total.starts), ("end", total.ends)):
        goals.append(Goal(f"word {name}s from {peer.name}'s: median, s", middle(values), MEDIAN))
        goals.append(Goal(f"word {name}s from {peer.name}'s: 95%, s", worst(values), WORST))
    note = (
        "Only words that both heard. Their probabilities differ by "
        f"{middle(differences):.3f} at the median."
    )
    title = f"Word times from {peer.name}'s"
    return Section(title, ("language", *HEADER), rows, {"words": data}, goals, [note])


def matched(
    ours: Sequence[SpokenWord], theirs: Sequence[SpokenWord], language: str
) -> Iterator[tuple[SpokenWord, SpokenWord]]:
    """The words that both have, in order."""
    first_texts, second_texts = (
        [" ".join(plain_words(word.word, language)) for word in some] for some in (ours, theirs)
    )
    matcher = difflib.SequenceMatcher(None, first_texts, second_texts, autojunk=False)
    for first, second, length in matcher.get_matching_blocks():
        yield from zip(ours[first : first + length], theirs[second : second + length], strict=True)


def against_truth(
    service: Service, peer: Peer | None, clips: Sequence[Clip], orders: int, seed: int
) -> Section:
    """Clips joined with known silences: where the first word begins, and the last one ends."""
    rng = random.Random(seed)
    recordings = [joined.shuffled_join(clips, rng) for _ in range(orders)]
    systems: list[Service | Peer] = [*([peer] if peer else []), service]
    rows: list[tuple[object, ...]] = []
    data = {}
    for system in systems:
        errors, missing = Errors([], []), 0
        for recording in recordings:
            words = system.words(recording.data, clips[0].language)
            for placed in recording.placed:
                own = [word for word in words if _nearest(word, recording.placed) is placed]
                if not own:
                    missing += 1
                    continue
                errors.starts.append(abs(own[0].start - placed.start))
                errors.ends.append(abs(own[-1].end - placed.end))
        rows.append((system.name, *errors.row(), missing))
        data[system.name] = {"starts": errors.starts, "ends": errors.ends}
    note = (
        "Where speech begins and ends is measured by loudness in each clip, to 10 ms; the clips "
        "are joined with silences of 0 to 40 s. Of each clip, the first word's start and the last "
        "word's end. The last column: clips without any word in their time."
    )
    header = ("system", "clips", *HEADER[1:], "missing")
    return Section("Word times against the truth", header, rows, data, [], [note])


def _nearest(word: SpokenWord, placed: Sequence[joined.Placed]) -> joined.Placed:
    """The clip to which a word belongs: the one that its middle lies in, or next to."""
    moment = (word.start + word.end) / 2
    return min(placed, key=lambda each: max(each.start - moment, moment - each.end, 0.0))


def cost(service: Service, clips: Sequence[Clip], rounds: int = 3, at_once: int = 16) -> Section:
    """The time that words add, idle and saturated. Wants the machine to itself.

    Every request has samples of its own, a little later than the last one's: the service would know
    a recording again, and spare it the encoder.
    """
    parts = [clip.samples for clip in clips]
    speech = np.concatenate(parts * 20)
    variants = _variants(speech)
    seconds: dict[tuple[int, bool], list[float]] = {}
    again: list[float] = []
    for _ in range(rounds):
        for count in (1, at_once):
            for asked in (False, True):
                files = [next(variants) for _ in range(count)]
                took = asyncio.run(_together(service, files, asked=asked))
                seconds.setdefault((count, asked), []).append(took)
                if count == 1 and not asked:
                    again.append(asyncio.run(_together(service, files, asked=False)))
    rows: list[tuple[object, ...]] = []
    medians = {key: middle(values) for key, values in seconds.items()}
    shares = {}
    for count in (1, at_once):
        plain, words = medians[count, False], medians[count, True]
        shares[count] = words / plain - 1
        audio = count * DENSE_SECONDS
        rows.append((count, audio / plain, audio / words, words - plain, 100 * shares[count]))
    decode = middle(again)
    note = (
        f"Medians of {rounds} rounds of files of {DENSE_SECONDS} s each, with and without in turn. "
        f"Alone and with its encoder output still there, a file takes {decode:.2f} s: about what "
        "its tokens take to decode."
    )
    goals = [
        Goal(f"time that words add to {at_once} files at once, share", shares[at_once], SHARE),
        Goal("time that words add to one file, of the decoding of its tokens",
             (medians[1, True] - medians[1, False]) / decode, 1.0),
    ]  # fmt: skip
    header = ("files at once", "RTFx without", "RTFx with", "added s", "added %")
    data = {
        f"{count}, {'with' if asked else 'without'}": v for (count, asked), v in seconds.items()
    }
    return Section("What words cost", header, rows, data, goals, [note])


def _variants(speech: Samples) -> Iterator[bytes]:
    length, offset = round(DENSE_SECONDS * SAMPLE_RATE), 0
    while True:
        yield encode_flac(speech[offset : offset + length])
        offset += 37


async def _together(service: Service, files: Sequence[bytes], *, asked: bool) -> float:
    fields = {**ONE_TRY, "language": "en"} | (ASKED if asked else {"response_format": "json"})
    async with httpx.AsyncClient(timeout=service.timeout, headers=service.headers) as client:
        began = time.perf_counter()
        answers = await asyncio.gather(
            *(service.post_beside_others(client, data, fields) for data in files)
        )
        took = time.perf_counter() - began
    for answer in answers:
        answer.raise_for_status()
    return took
