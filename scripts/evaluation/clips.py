"""Each clip alone: its words and its language; and sounds without words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

from evaluation.corpus import Clip, Samples, encode_flac
from evaluation.report import Goal, Section
from evaluation.systems import Answer, Peer, Service, System
from evaluation.text import Score, count_words, metric, score

MARGIN = 0.3  # points of error rate by which the service may be worse than faster-whisper
MODES = ("detected", "given")  # whether the language is found out or named in the request
OTHERS = "not en"  # the group of all languages but English


@dataclass(frozen=True)
class Heard:
    """One clip through one system."""

    system: str
    mode: str
    clip: Clip
    answer: Answer

    def score(self, *, numbers_alike: bool = False) -> Score:
        clip = self.clip
        return score(clip.reference, self.answer.text, clip.language, numbers_alike=numbers_alike)


@dataclass(frozen=True)
class Pooled:
    """Several clips through one system: all their edits over all their length."""

    group: str
    metric: str
    mode: str
    system: str
    percent: float  # after Whisper's normaliser
    percent_alike: float  # and with numbers made alike
    languages_right: int
    clips: int
    sampled: int  # clips whose text is not greedy
    audio_seconds: float
    answer_seconds: float


def hear(system: System, clips: Sequence[Clip], mode: str, repeat: int = 1) -> Iterator[Heard]:
    for seed, clip in product(range(repeat), clips):
        language = clip.language if mode == "given" else None
        yield Heard(system.name, mode, clip, system.transcribe(clip.data, language, seed))


def accuracy(systems: Sequence[System], clips: Sequence[Clip], repeat: int) -> list[Section]:
    """Errors after Whisper's normaliser, per language and pooled; and the transcripts."""
    heard = [
        one for mode in MODES for system in systems for one in hear(system, clips, mode, repeat)
    ]
    groups = sorted({clip.language for clip in clips})
    if len(set(groups) - {"en"}) > 1:
        groups.append(OTHERS)
    pooled = {
        (group, mode, system.name): _pool(group, mode, system.name, heard)
        for group, mode, system in product(groups, MODES, systems)
    }
    names = [system.name for system in systems]
    what = ("%", "alike %", "language")
    header = ("clips", "metric", "language", *(f"{n} {w}" for n, w in product(names, what)))
    rows = [
        _row([pooled[group, mode, name] for name in names])
        for group, mode in product(groups, MODES)
    ]
    notes = [
        "%: all edits over all words (WER) or characters (CER), after Whisper's normaliser.",
        "alike %: besides, numbers from one to ten are the same spelled and in digits.",
        *(_speed([p for p in pooled.values() if p.system == name]) for name in names),
    ]
    data = {
        "pooled": [asdict(one) for one in pooled.values()],
        "clips": [_clip_data(one) for one in heard],
    }
    goals = _accuracy_goals(pooled)
    return [Section("Clips", header, rows, data, goals, notes), _transcripts(heard, names)]


def invented(systems: Sequence[System], sounds: dict[str, Samples]) -> Section:
    """Words that come out of sounds without any."""
    totals = {system.name: 0 for system in systems}
    rows: list[tuple[object, ...]] = []
    data = []
    for name, samples in sounds.items():
        audio = encode_flac(samples)
        row: list[object] = [name]
        for system, mode in product(systems, MODES):
            text = system.transcribe(audio, "en" if mode == "given" else None).text
            found = count_words(text)
            totals[system.name] += found
            row.append(found)
            data.append(
                {"sound": name, "system": system.name, "mode": mode, "words": found, "text": text}
            )
        rows.append(tuple(row))
    header = ("sound", *(f"{name} {mode}" for name, mode in product(totals, MODES)))
    goals = [Goal("words on non-speech", totals[Service.name], 0)] if Service.name in totals else []
    notes = [f"Together, {name}: {total} words." for name, total in totals.items()]
    return Section("Non-speech", header, rows, {"sounds": data}, goals, notes)


def _pool(group: str, mode: str, system: str, heard: Sequence[Heard]) -> Pooled:
    own = [
        one
        for one in heard
        if (one.system, one.mode) == (system, mode)
        and (one.clip.language == group or (group == OTHERS and one.clip.language != "en"))
    ]
    return Pooled(
        group,
        metric(group),
        mode,
        system,
        sum((one.score() for one in own), Score()).percent,
        sum((one.score(numbers_alike=True) for one in own), Score()).percent,
        sum(one.answer.language == one.clip.language for one in own),
        len(own),
        sum(one.answer.sampled for one in own),
        sum(one.clip.seconds for one in own),
        sum(one.answer.seconds for one in own),
    )


def _row(systems: Sequence[Pooled]) -> tuple[object, ...]:
    first = systems[0]
    row: list[object] = [first.group, first.metric, first.mode]
    for one in systems:
        right = f"{one.languages_right}/{one.clips}" if one.mode == "detected" else None
        row += [one.percent, one.percent_alike, right]
    return tuple(row)


def _speed(pooled: Sequence[Pooled]) -> str:
    each = [one for one in pooled if one.group != OTHERS]
    took, audio = sum(p.answer_seconds for p in each), sum(p.audio_seconds for p in each)
    sampled = sum(p.sampled for p in each)
    return (
        f"{each[0].system}: {took:.1f} s for {audio:.1f} s of audio, one clip at a time; "
        f"{sampled} of {sum(p.clips for p in each)} answers fell back to a temperature above 0."
    )


def _transcripts(heard: Sequence[Heard], names: Sequence[str]) -> Section:
    """What was said and what came back, of each clip's first run with its language detected."""
    texts: dict[str, dict[str, str]] = {}
    for one in heard:
        if one.mode == "detected":
            row = texts.setdefault(one.clip.name, {"said": one.clip.reference})
            row.setdefault(one.system, f"[{one.answer.language}] {one.answer.text}")
    rows: list[tuple[object, ...]] = [(clip, *row.values()) for clip, row in texts.items()]
    return Section("Transcripts, language detected", ("clip", "said", *names), rows, {})


def _clip_data(one: Heard) -> dict[str, object]:
    plain, alike = one.score(), one.score(numbers_alike=True)
    return {
        "clip": one.clip.name,
        "system": one.system,
        "mode": one.mode,
        "language": one.answer.language,
        "reference": one.clip.reference,
        "text": one.answer.text,
        "metric": metric(one.clip.language),
        "edits": plain.edits,
        "length": plain.length,
        "edits_alike": alike.edits,
        "length_alike": alike.length,
        "seconds": one.answer.seconds,
        "segments": [asdict(piece) for piece in one.answer.pieces],
    }


def _accuracy_goals(pooled: dict[tuple[str, str, str], Pooled]) -> list[Goal]:
    goals = []
    for (group, mode, system), ours in pooled.items():
        peer = pooled.get((group, mode, Peer.name))
        pooled_group = group in ("en", OTHERS)
        if system == Service.name and peer is not None and pooled_group:
            name = f"{ours.metric} of {group}, language {mode}: points above {Peer.name}"
            alike = ours.percent_alike - peer.percent_alike
            goals += [
                Goal(name, ours.percent - peer.percent, MARGIN),
                Goal(f"{name}, numbers alike", alike, MARGIN),
            ]
    return goals
