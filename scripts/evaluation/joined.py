"""Long recordings made of clips, so that it is known which words are where."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evaluation.corpus import SAMPLE_RATE, Clip, Samples, encode_flac
from evaluation.systems import Piece

GAPS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # seconds of silence between ten clips
HOUR_GAPS = (2.0, 20.0)  # seconds; so sparse, an hour of FLAC stays below 25 MiB


@dataclass(frozen=True, eq=False)
class Placed:
    """A clip in a recording; `start` and `end` of its speech are seconds of the recording."""

    clip: Clip
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Recording:
    samples: Samples
    placed: tuple[Placed, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def reference(self) -> str:
        return " ".join(placed.clip.reference for placed in self.placed)

    @cached_property
    def data(self) -> bytes:
        return encode_flac(self.samples)


def join(clips: Sequence[Clip], gaps: Sequence[float]) -> Recording:
    """The clips in this order, with so many seconds of digital silence after each but the last.

    The clips' own quiet edges come on top of the gaps; `Placed` knows where the speech is.
    """
    parts: list[Samples] = []
    placed: list[Placed] = []
    position = 0
    for clip, gap in zip(clips, [*gaps, 0.0], strict=True):
        offset = position / SAMPLE_RATE
        placed.append(Placed(clip, offset + clip.speech[0], offset + clip.speech[1]))
        silence = np.zeros(round(gap * SAMPLE_RATE), np.float32)
        parts += [clip.samples, silence]
        position += len(clip.samples) + len(silence)
    return Recording(np.concatenate(parts), tuple(placed))


def shuffled_join(clips: Sequence[Clip], rng: random.Random) -> Recording:
    """Ten of the clips, each of `GAPS` between two of them, in an order of this generator."""
    gaps = rng.sample(GAPS, len(GAPS))
    order = draw(clips, rng)
    return join([next(order) for _ in range(len(gaps) + 1)], gaps)


def draw(clips: Sequence[Clip], rng: random.Random) -> Iterator[Clip]:
    """Clips for ever: all of them once, shuffled, then again; never one twice running."""
    last = None
    while True:
        deck = rng.sample(clips, len(clips))
        if deck[0] is last and len(deck) > 1:
            deck[0], deck[-1] = deck[-1], deck[0]
        yield from deck
        last = deck[-1]


def around(
    middle: Clip, clips: Sequence[Clip], seconds: float, rng: random.Random
) -> tuple[Recording, Placed]:
    """A recording of about `seconds`, with `middle` in its middle and the clips around it."""

    def half() -> tuple[list[Clip], list[float]]:
        chosen: list[Clip] = []
        gaps: list[float] = []
        left = (seconds - middle.seconds) / 2
        for clip in draw(clips, rng):
            if left <= 0:
                break
            chosen.append(clip)
            gaps.append(rng.uniform(*HOUR_GAPS))
            left -= clip.seconds + gaps[-1]
        return chosen, gaps

    (before, gaps_before), (after, gaps_after) = half(), half()
    recording = join([*before, middle, *after], [*gaps_before, *gaps_after])
    return recording, recording.placed[len(before)]


def pieces_of(placed: Placed, pieces: Sequence[Piece]) -> list[Piece]:
    """The segments that hold a clip's speech.

    One does when they share at least half of the shorter of the two: so a neighbour that runs
    some tenths of a second over does not count, and one that spans several clips does.
    """
    found = []
    for piece in pieces:
        shared = min(placed.end, piece.end) - max(placed.start, piece.start)
        shorter = min(placed.end - placed.start, piece.end - piece.start)
        if shared > 0 and shared >= shorter / 2:
            found.append(piece)
    return found


@dataclass(frozen=True)
class BoundError:
    """How far a clip's first segment's start and last segment's end are off, in seconds."""

    clip: str
    start: float
    end: float


def bound_errors(recording: Recording, pieces: Sequence[Piece]) -> list[BoundError | None]:
    """For every clip, in order; None where no segment holds it."""
    errors: list[BoundError | None] = []
    for placed in recording.placed:
        found = pieces_of(placed, pieces)
        errors.append(
            BoundError(
                placed.clip.name,
                abs(found[0].start - placed.start),
                abs(found[-1].end - placed.end),
            )
            if found
            else None
        )
    return errors
