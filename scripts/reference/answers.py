"""What openai/whisper and the service each make of the cases, in the same form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tokenizing:
    """Of one vocabulary.

    texts: tokens of each text of the cases.
    bytes_of_tokens: of each text token, by its id, in hexadecimal.
    suppressed: tokens that are never generated, special ones included.
    """

    texts: Sequence[Sequence[int]]
    bytes_of_tokens: Sequence[str] = field(repr=False)
    suppressed: Sequence[int]


@dataclass(frozen=True)
class Decoded:
    """One window, decoded once at temperature 0.

    tokens: text and timestamps.
    finished: whether the text came to its end, and not to a loop's or the limit of tokens.
    decoder_prompt: tokens before the language.
    probabilities: of the languages' codes; empty where the language was given.
    """

    language: str
    tokens: Sequence[int]
    finished: bool
    avg_logprob: float
    no_speech_prob: float
    decoder_prompt: Sequence[int]
    probabilities: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True)
class Timed:
    """A segment or a word; `start` and `end` are seconds of the file."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class File:
    """A file's transcript. `compression_ratios` and `no_speech_probs`: of each segment's window."""

    language: str
    text: str
    segments: Sequence[Timed]
    words: Sequence[Timed]
    compression_ratios: Sequence[float]
    no_speech_probs: Sequence[float]


@dataclass(frozen=True)
class Answers:
    """As `cases.Cases` asks.

    previous: by the number of previous tokens, the log-probabilities of `cases.compared_tokens`
        right after the decoder's prompt.
    log_mel: float32[80, 3000] each, what the encoder was given.
    """

    tokenizers: Mapping[str, Tokenizing]
    windows: Mapping[str, Decoded]
    prompted_windows: Sequence[Decoded]
    clips: Mapping[str, File]
    prompted_clips: Sequence[File]
    readings: Mapping[str, File]
    previous: Mapping[str, Sequence[float]]
    log_mel: Mapping[str, NDArray[np.float32]] = field(repr=False)

    def write(self, folder: Path) -> None:
        folder.mkdir()
        np.savez(folder / "log_mel.npz", **dict[str, Any](self.log_mel))
        rest = {name: value for name, value in vars(self).items() if name != "log_mel"}
        text = json.dumps(rest, default=asdict, ensure_ascii=False)
        (folder / "answers.json").write_text(text, encoding="utf-8")


def read_answers(folder: Path) -> Answers:
    """The answers that were written there."""
    content = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    with np.load(folder / "log_mel.npz") as file:
        log_mel = dict(file)
    return Answers(
        tokenizers={name: Tokenizing(**each) for name, each in content["tokenizers"].items()},
        windows={name: Decoded(**each) for name, each in content["windows"].items()},
        prompted_windows=[Decoded(**each) for each in content["prompted_windows"]],
        clips={name: _file(each) for name, each in content["clips"].items()},
        prompted_clips=[_file(each) for each in content["prompted_clips"]],
        readings={name: _file(each) for name, each in content["readings"].items()},
        previous=content["previous"],
        log_mel=log_mel,
    )


def _file(content: dict[str, Any]) -> File:
    timed = {name: [Timed(**each) for each in content[name]] for name in ("segments", "words")}
    return File(**{**content, **timed})
