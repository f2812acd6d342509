"""Clips joined to long recordings: every word there once, at its time, and as when alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import mean, median

from evaluation.clips import MODES
from evaluation.corpus import Clip
from evaluation.joined import (
    BoundError,
    Placed,
    Recording,
    around,
    bound_errors,
    pieces_of,
    shuffled_join,
)
from evaluation.report import Goal, Section
from evaluation.systems import Answer, Service, System
from evaluation.text import Alignment, align, words

HEADER = (  # of the table of joined clips
    "language, mode, system, orders, words, lost, doubled, invented, changed, "
    "clips without segment, start off, end off, median, sampled"
)
BOUND_LIMIT = 0.3  # seconds that a segment's bound may be off, on average
SAME, AMONG_OTHERS, DIFFERENT = "same", "among others", "different"


@dataclass(frozen=True)
class Joined:
    """One recording of ten clips through one system."""

    system: str
    language: str
    mode: str
    order: int
    recording: Recording
    answer: Answer

    @property
    def alignment(self) -> Alignment:
        return align(
            words(self.recording.reference, self.language), words(self.answer.text, self.language)
        )

    @property
    def bounds(self) -> list[BoundError | None]:
        return bound_errors(self.recording, self.answer.pieces)


def seams(
    systems: Sequence[System],
    clips: Sequence[Clip],
    languages: Sequence[str],
    orders: int,
    seed: int,
) -> Section:
    """Lost and doubled words, and the error of segment bounds, in `orders` for each language."""
    joined = []
    for language in languages:
        own = [clip for clip in clips if clip.language == language]
        rng = random.Random(f"{seed} {language}")
        for order, recording in enumerate(shuffled_join(own, rng) for _ in range(orders)):
            for mode in MODES:
                for system in systems:
                    asked = language if mode == "given" else None
                    answer = system.transcribe(recording.data, asked)
                    joined.append(Joined(system.name, language, mode, order, recording, answer))
    rows: list[tuple[object, ...]] = []
    for language in languages:
        for mode in MODES:
            for system in systems:
                group = [
                    one
                    for one in joined
                    if (one.language, one.mode, one.system) == (language, mode, system.name)
                ]
                rows.append((language, mode, system.name, *_measures(group)))
    notes = [
        "Words are aligned with what was said. The model's own errors count too: `lost` and",
        "`doubled` speak of seams only where the model is good (whisper-base: English).",
        "start off, end off: mean seconds between a clip's measured speech and its segments.",
    ]
    data = {"joined": [_joined_data(one) for one in joined]}
    return Section(
        "Joined clips", tuple(HEADER.split(", ")), rows, data, _seam_goals(joined), notes
    )


def middle(systems: Sequence[System], clips: Sequence[Clip], seconds: float, seed: int) -> Section:
    """A clip alone and in the middle of a long recording, which names the language."""
    rng = random.Random(seed)
    centre = rng.choice(clips)
    recording, there = around(centre, clips, seconds, rng)
    rows: list[tuple[object, ...]] = []
    data = []
    goals = []
    for system in systems:
        answer = system.transcribe(recording.data, centre.language)
        alone = {clip.name: system.transcribe(clip.data, clip.language).text for clip in clips}
        found = [_found(placed, alone[placed.clip.name], answer) for placed in recording.placed]
        own = found[recording.placed.index(there)]
        kinds = [one.kind for one in found]
        counts = [kinds.count(kind) for kind in (SAME, AMONG_OTHERS, DIFFERENT)]
        rows.append((system.name, own.alone, own.here, own.kind, *counts))
        data.append(
            {"system": system.name, "seconds": answer.seconds, "found": list(map(asdict, found))}
        )
        if system.name == Service.name:
            goals.append(
                Goal(f"{centre.name} in the middle differs", float(own.kind == DIFFERENT), 0)
            )
    header = ("system", "alone", "in the middle", "it is", "same", "among others", "different")
    notes = [
        "Compared by words, numbers made alike. The last columns are about every clip in there.",
        f"{AMONG_OTHERS}: the segments that hold the clip hold its neighbours' words as well.",
    ]
    title = f"{centre.name} in the middle of {recording.seconds / 60:.0f} minutes"
    return Section(title, header, rows, {"middle": data}, goals, notes)


@dataclass(frozen=True)
class Found:
    """A clip's text when alone, and the text of the segments that hold it in a recording."""

    clip: str
    start: float
    alone: str
    here: str
    kind: str  # SAME, AMONG_OTHERS or DIFFERENT


def _found(placed: Placed, alone: str, answer: Answer) -> Found:
    here = "".join(piece.text for piece in pieces_of(placed, answer.pieces)).strip()
    kind = compare(words(alone, placed.clip.language), words(here, placed.clip.language))
    return Found(placed.clip.name, placed.start, alone, here, kind)


def compare(alone: list[str], here: list[str]) -> str:
    """What became of the words that a clip gets alone."""
    if alone == here:
        return SAME
    starts = range(len(here) - len(alone) + 1)
    whole = bool(alone) and any(here[start : start + len(alone)] == alone for start in starts)
    return AMONG_OTHERS if whole else DIFFERENT


def _measures(group: Sequence[Joined]) -> tuple[object, ...]:
    """What `HEADER` names from `orders` on."""
    total = sum((one.alignment for one in group), Alignment())
    bounds = [bound for one in group for bound in one.bounds]
    found = [bound for bound in bounds if bound is not None]
    starts, ends = [bound.start for bound in found], [bound.end for bound in found]
    return (
        len(group),
        total.words,
        total.lost,
        total.doubled,
        total.invented,
        total.changed,
        len(bounds) - len(found),
        mean(starts) if starts else None,
        mean(ends) if ends else None,
        median(starts + ends) if found else None,
        sum(one.answer.sampled for one in group),
    )


def _seam_goals(joined: Sequence[Joined]) -> list[Goal]:
    ours = [one for one in joined if one.system == Service.name]
    if not ours:
        return []
    english = sum((one.alignment for one in ours if one.language == "en"), Alignment())
    bounds = [bound for one in ours for bound in one.bounds]
    errors = [error for bound in bounds if bound for error in (bound.start, bound.end)]
    return [
        Goal("English words lost in joined clips", english.lost, 0),
        Goal("English words doubled in joined clips", english.doubled, 0),
        Goal("joined clips that no segment holds", bounds.count(None), 0),
        Goal("mean error of segment bounds, s", mean(errors) if errors else inf, BOUND_LIMIT),
    ]


def _joined_data(one: Joined) -> dict[str, object]:
    return {
        "system": one.system,
        "language": one.language,
        "mode": one.mode,
        "order": one.order,
        "found_language": one.answer.language,
        "seconds": one.answer.seconds,
        "audio_seconds": one.recording.seconds,
        "alignment": asdict(one.alignment),
        "clips": [
            {
                "clip": placed.clip.name,
                "start": placed.start,
                "end": placed.end,
                "bound_error": asdict(bound) if bound else None,
            }
            for placed, bound in zip(one.recording.placed, one.bounds, strict=True)
        ],
        "segments": [asdict(piece) for piece in one.answer.pieces],
    }
