"""What both are given: audio as 16-bit samples, prompts and texts. The same in every run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.speech import Speech
from evaluation.corpus import Clip, load_clips
from evaluation.joined import join
from reference.prompts import ENGLISH_PROMPTS, MISLEADING_PROMPTS, PROMPTS, SENTENCES
from samples import samples_folder
from whisper_service.domain import SAMPLE_RATE, WINDOW_SAMPLES, Samples

Pcm = NDArray[np.int16]
"""int16[n], 16 kHz mono: both sides read the same values from it."""

_GAP = 0.6  # seconds between the clips of a joined window
# Every window ends in silence: the two compute the last frame of audio that is cut in different
# ways, and what they put behind shorter audio is compared by itself.
_LONGEST = 29.5  # seconds
_READ_WINDOWS = 3  # windows of dense English speech, which the prompts are tried on as well


@dataclass(frozen=True)
class Cases:
    """What is compared.

    windows: int16[480000] each, by name, so that neither side pads anything.
    clips: files of one window at most, as a user sends them.
    readings: files of several windows, in English.
    languages: codes, of windows and clips, by name.
    prompted_windows: name and prompt; the language is given.
    prompted_clips: name and prompt; the language is found.
    texts: for the tokenizers.
    previous: numbers of previous tokens, after which the decoder's first step is compared.
    """

    windows: Mapping[str, Pcm] = field(repr=False)
    clips: Mapping[str, Pcm] = field(repr=False)
    readings: Mapping[str, Pcm] = field(repr=False)
    languages: Mapping[str, str]
    prompted_windows: Sequence[tuple[str, str]]
    prompted_clips: Sequence[tuple[str, str]]
    texts: Sequence[str]
    previous: Sequence[int]

    def write(self, folder: Path) -> None:
        """Writes them into a folder, every time the same bytes."""
        kinds = ("windows", "clips", "readings")
        for kind in kinds:
            np.savez(folder / f"{kind}.npz", **getattr(self, kind))
        rest = {name: value for name, value in vars(self).items() if name not in kinds}
        rest["previous"] = list(self.previous)
        (folder / "cases.json").write_text(json.dumps(rest), encoding="utf-8")


def read_cases(folder: Path) -> Cases:
    """The cases that were written there."""
    audio: dict[str, Any] = {}
    for kind in ("windows", "clips", "readings"):
        with np.load(folder / f"{kind}.npz") as file:
            audio[kind] = dict(file)
    return Cases(**audio, **json.loads((folder / "cases.json").read_text(encoding="utf-8")))


def decoder_prompt(
    previous: int, *, text: int, before: int, start: int, rest: Sequence[int]
) -> list[int]:
    """Token ids: `previous` of text, of all lengths and places in the vocabulary, and what follows.

    Args:
        previous: how many; 0: the prompt begins with the start of the transcript.
        text: how many tokens are text.
        before: <|startofprev|>.
        start: <|startoftranscript|>.
        rest: language and task.
    """
    said = [(7_919 * place + 3_000) % text for place in range(previous)]
    return [*([before, *said] if said else []), start, *rest]


def compared_tokens(vocabulary: int) -> list[int]:
    """A hundred of all tokens."""
    return list(range(0, vocabulary, vocabulary // 100))[:100]


def as_samples(pcm: Pcm) -> Samples:
    """float32[n] in [-1, 1), as decoders read 16-bit audio."""
    return pcm.astype(np.float32) / np.float32(32_768)


def sample() -> Cases:
    """About a minute of work: a few cases of each kind."""
    names = ("en/quick_brown_fox", "fr/pangrama", "ja/pangrama")
    clips = [clip for clip in load_clips(samples_folder()) if clip.name in names]
    windows = {**_single(clips[1:2]), **_read(1)}
    prompts = (ENGLISH_PROMPTS[0], PROMPTS[-1])
    return Cases(
        windows=windows,
        clips={clip.name: _pcm(clip.samples) for clip in clips},
        readings={"45 s": _reading(45)},
        languages=_languages(clips, windows),
        prompted_windows=[*product(("en/read/0",), prompts)],
        prompted_clips=[("en/quick_brown_fox", MISLEADING_PROMPTS[0])],
        texts=_texts(clips),
        previous=(0, 1, 40, 223),
    )


def everything() -> Cases:
    """Minutes of work: all clips, 30 prompts on six recordings, readings of minutes."""
    clips = load_clips(samples_folder())
    windows = {**_single(clips), **_joined(clips), **_read(_READ_WINDOWS)}
    prompted = [*_read(_READ_WINDOWS), "en/joined", "en/quick_brown_fox", "en/counting"]
    misled = [clip.name for clip in clips if clip.language in {"en", "fr", "es"}]
    return Cases(
        windows=windows,
        clips={clip.name: _pcm(clip.samples) for clip in clips},
        readings={"75 s": _reading(75), "5 min": _reading(300)},
        languages=_languages(clips, windows),
        prompted_windows=[*product(prompted, PROMPTS)],
        prompted_clips=[*product(misled, MISLEADING_PROMPTS)],
        texts=_texts(clips),
        previous=range(224),
    )


def _pcm(samples: Samples) -> Pcm:
    return np.round(np.clip(samples, -1, 1) * 32_767).astype(np.int16)


def _window(samples: Samples) -> Pcm:
    kept = _pcm(samples[: round(_LONGEST * SAMPLE_RATE)])
    return np.pad(kept, (0, WINDOW_SAMPLES - len(kept)))


def _single(clips: Iterable[Clip]) -> dict[str, Pcm]:
    return {clip.name: _window(clip.samples) for clip in clips}


def _joined(clips: Sequence[Clip]) -> dict[str, Pcm]:
    """All clips of a language, one behind the other."""
    windows = {}
    for language, group in groupby(clips, lambda clip: clip.language):
        same = list(group)
        recording = join(same, [_GAP] * (len(same) - 1))
        windows[f"{language}/joined"] = _window(recording.samples)
    return windows


def _read(number: int) -> dict[str, Pcm]:
    speech = Speech()
    return {f"en/read/{index}": _window(speech.take(_LONGEST)) for index in range(number)}


def _reading(seconds: float) -> Pcm:
    return _pcm(Speech().take(seconds))


def _languages(clips: Iterable[Clip], windows: Iterable[str]) -> dict[str, str]:
    codes = {clip.name: clip.language for clip in clips}
    return codes | {name: name.partition("/")[0] for name in windows}


def _texts(clips: Iterable[Clip]) -> list[str]:
    said = [clip.reference for clip in clips]
    texts = [*SENTENCES, *PROMPTS, *MISLEADING_PROMPTS, *said]
    return [*texts, *(f" {text}" for text in texts)]
