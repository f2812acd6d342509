"""Measures the running service's transcripts beside faster-whisper's with the same weights.

    make serve                                      # in another terminal
    .venv/bin/python scripts/evaluate.py --output quality.json

It prints a table for each section, and whether the service keeps what it promises. `--check`
makes a broken promise the exit status. Clips are `<language>/<name>.wav` (or mp3, flac, …)
with the words in `<name>.txt` beside them; by default the 27 of the package pytest-audioeval.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from evaluation import clips as alone
from evaluation import corpus, crowd, hours, long, sounds, words
from evaluation.report import Section, render, render_goals
from evaluation.systems import Dotted, Peer, Service, System, embedded_peer
from samples import samples_folder

SECTIONS = ("clips", "nonspeech", "joined", "crowd", "words", "words-cost")
MINUTES_IN_THE_MIDDLE_OF = 60.0


def main() -> int:
    args = _arguments()
    clips = corpus.load_clips(args.clips, args.languages)
    service = None
    if not args.peer_only:
        key = os.environ.get("WHISPER_API_KEY", "")
        service = Service(
            args.url, vad=not args.no_vad, model=args.model, key=key, timeout=args.timeout
        )
    systems = [Dotted(system) for system in (*_peer(args), service) if system is not None]

    sections: list[Section] = []
    started = time.perf_counter()
    for section in _sections(args, systems, service, clips):
        sections.append(section)
        print(render(section), flush=True)
        print(f" {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    goals = [goal for section in sections for goal in section.goals]
    if goals:
        print(render_goals(goals))
    if args.output:
        args.output.write_text(json.dumps(_document(args, service, sections), indent=1))
    return int(args.check and not all(goal.kept for goal in goals))


def _sections(
    args: argparse.Namespace,
    systems: Sequence[System],
    service: Service | None,
    clips: Sequence[corpus.Clip],
) -> Iterator[Section]:
    languages = {clip.language for clip in clips}
    first = "en" if "en" in languages else min(languages)
    if "clips" in args.sections:
        yield from alone.accuracy(systems, clips, args.repeat)
    if "nonspeech" in args.sections:
        yield alone.invented(systems, sounds.non_speech(args.sound_seconds, args.seed))
    if "joined" in args.sections:
        yield long.seams(systems, clips, args.joined_languages or [first], args.orders, args.seed)
    if "crowd" in args.sections and service is not None:
        yield crowd.crowd(service, clips, args.concurrent, args.seed)
    if service is not None:
        yield from _words(args, service, clips)
    if args.hour is not None:
        own = [clip for clip in clips if clip.language == first]
        yield long.middle(systems, own, 60 * args.hour, args.seed)
    if args.hours is not None and service is not None:
        own = [clip for clip in clips if clip.language == first]
        yield hours.hours(service, own, 3600 * args.hours, args.seed)


def _words(
    args: argparse.Namespace, service: Service, clips: Sequence[corpus.Clip]
) -> Iterator[Section]:
    english = [clip for clip in clips if clip.language == "en"]
    if "words" in args.sections:
        peer = next(iter(_peer(args)), None)
        if peer is not None:
            yield words.beside_peer(service, peer, clips)
        yield words.against_truth(service, peer, english, args.orders, args.seed)
    if "words-cost" in args.sections:
        yield words.cost(service, english)


def _peer(args: argparse.Namespace) -> list[Peer]:
    if args.service_only:
        return []
    return [
        Peer(
            args.peer_model or embedded_peer(args.cache_dir),
            vad=not args.no_vad,
            threads=args.threads,
            device=args.peer_device,
            compute_type=args.peer_compute_type,
        )
    ]


def _document(
    args: argparse.Namespace, service: Service | None, sections: Sequence[Section]
) -> dict[str, object]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "service": {"url": args.url, "model": service.model} if service else None,
        "faster-whisper": None if args.service_only else version("faster-whisper"),
        "options": {name: str(value) for name, value in sorted(vars(args).items())},
        "sections": [{"title": s.title, **s.data} for s in sections],
        "goals": [
            {"goal": g.name, "measured": g.value, "at_most": g.limit, "kept": g.kept}
            for section in sections
            for g in section.goals
        ],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000/api/v1", help="of the service, up to the version")
    add("--model", help="the name to ask the service for; default: its first")
    add("--timeout", type=float, default=1800, help="seconds to wait for one answer")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--peer-only", action="store_true", help="faster-whisper alone")
    one.add_argument("--service-only", action="store_true", help="the service alone")
    add("--peer-model", type=Path, help="CTranslate2 folder; default: the embedded whisper-base")
    add("--peer-device", default="cpu", help="cpu or cuda")
    add("--peer-compute-type", default="float32", help="as CTranslate2 names them")
    add("--threads", type=int, default=2, help="of faster-whisper")
    add("--cache-dir", type=Path, default=Path("~/.cache/whisper-service").expanduser())
    add("--clips", type=Path, default=None, help="folder of <language>/<name>.wav and .txt")
    add("--languages", nargs="+", metavar="CODE", help="only these of the folder")
    add("--sections", nargs="*", choices=SECTIONS, default=SECTIONS, help="what to measure")
    add("--hour", type=float, nargs="?", const=MINUTES_IN_THE_MIDDLE_OF, metavar="MINUTES",
        help="besides, a clip in the middle of an hour, or of so many minutes")  # fmt: skip
    add("--hours", type=float, nargs="?", const=2.0, metavar="N",
        help="besides, a recording of 2 hours, or of so many, and its memory")  # fmt: skip
    add("--repeat", type=int, default=1, help="how often the section clips runs each clip")
    add("--joined-languages", nargs="+", metavar="CODE", help="whose clips are joined: English's")
    add("--orders", type=int, default=3, help="recordings of ten clips for each such language")
    add("--concurrent", type=int, default=40, help="files at once in the section crowd")
    add("--sound-seconds", type=float, default=12, help="length of each sound without words")
    add("--no-vad", action="store_true", help="without voice activity detection, on both sides")
    add("--seed", type=int, default=0)
    add("--output", type=Path, help="JSON file to write")
    add("--check", action="store_true", help="exit 1 when the service misses a goal")
    args = parser.parse_args()
    args.clips = args.clips or samples_folder()
    return args


if __name__ == "__main__":
    sys.exit(main())
