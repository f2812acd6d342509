"""The words that every layer shares: what a caller asks for, and what comes back.

Plain frozen data. Nothing in here imports another module of the service but `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz; what Whisper was trained on
WINDOW_SECONDS = 30  # the encoder always sees 30 s
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE  # 480,000 samples in a window
FRAMES_PER_SECOND = 100  # mel frames: a hop of 160 samples
ENCODER_POSITIONS_PER_SECOND = 50  # what the decoder is given of the audio
TIME_PRECISION = 0.02  # seconds that one timestamp token stands for

Samples = NDArray[np.float32]
"""float32[n], 16 kHz mono, in [-1, 1]."""


class Task(StrEnum):
    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


@dataclass(frozen=True)
class SpeechOptions:
    """How speech is found; the names and units are OpenAI's `server_vad`."""

    threshold: float = 0.5  # probability above which a frame counts as speech
    prefix_padding_ms: int = 300  # kept before and after each span
    silence_duration_ms: int = 200  # a shorter silence does not end a span


@dataclass(frozen=True)
class QualityOptions:
    """When a window's text is not trusted (openai/whisper, `transcribe.py`)."""

    compression_ratio_threshold: float = 2.4
    logprob_threshold: float = -1.0
    no_speech_threshold: float = 0.6


@dataclass(frozen=True)
class TranscriptionOptions:
    """One request, checked: nothing in here can be wrong any more."""

    task: Task = Task.TRANSCRIBE
    language: str | None = None  # ISO-639-1 (or Whisper's own three-letter) code; None: find out
    prompt: str = ""
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in this order
    speech: SpeechOptions | None = SpeechOptions()  # None: no voice activity detection
    quality: QualityOptions = QualityOptions()
    condition_on_previous_text: bool = False  # True: the sequential seek loop
    logprobs: bool = False  # whether the transcript carries its tokens' log-probabilities
    words: bool = False  # whether its segments carry their words' times
    # Improbable words between silences longer than this are left out; None: nothing is. With words.
    hallucination_silence_seconds: float | None = None


@dataclass(frozen=True)
class Span:
    """A stretch of the recording: [start, end), in samples of the file."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same stretches in order and disjoint: those that overlap or touch are one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(span.end, joined[-1].end))
        else:
            joined.append(span)
    return tuple(joined)


@dataclass(frozen=True, eq=False)
class Window:
    """At most 30 s that the encoder sees at once, packed from one or more spans of the file."""

    samples: Samples
    spans: tuple[Span, ...]  # in order, not overlapping; their lengths sum to len(samples)

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def seek(self) -> int:
        """Where the window starts in the file, in mel frames of 10 ms."""
        return round(self.spans[0].start * FRAMES_PER_SECOND / SAMPLE_RATE)

    def file_start(self, seconds: float) -> float:
        """The file's time of what *starts* at `seconds` of this window.

        On the seam between two spans a start belongs to the later one.
        """
        return self._file_time(seconds, start=True)

    def file_end(self, seconds: float) -> float:
        """The file's time of what *ends* at `seconds` of this window.

        On the seam between two spans an end belongs to the earlier one.
        """
        return self._file_time(seconds, start=False)

    def file_times(self, start: float, end: float) -> tuple[float, float]:
        """The file's times of what lies between two times of this window and is one thing.

        Both are in the span that has its middle: a word is not spoken across a silence.
        """
        middle = min(max(round((start + end) / 2 * SAMPLE_RATE), 0), len(self.samples) - 1)
        offset = 0
        for span in self.spans:
            if middle < offset + len(span):
                break
            offset += len(span)
        first, last = (
            min(max(round(time * SAMPLE_RATE) - offset, 0), len(span)) for time in (start, end)
        )
        return (span.start + first) / SAMPLE_RATE, (span.start + last) / SAMPLE_RATE

    def cut(self, sample: int) -> tuple[Window, Window]:
        """What of this window comes before, and what from its sample on; one may be empty."""
        offset, before, after = 0, [], []
        for span in self.spans:
            seam = min(max(span.start + sample - offset, span.start), span.end)
            before += [Span(span.start, seam)] if seam > span.start else []
            after += [Span(seam, span.end)] if seam < span.end else []
            offset += len(span)
        return (
            Window(self.samples[:sample], tuple(before)),
            Window(self.samples[sample:], tuple(after)),
        )

    def after(self, seconds: float) -> Window:
        """What of this window comes after `seconds` of it."""
        return self.cut(min(max(round(seconds * SAMPLE_RATE), 0), len(self.samples)))[1]

    def _file_time(self, seconds: float, *, start: bool) -> float:
        position = min(max(round(seconds * SAMPLE_RATE), 0), len(self.samples))
        offset = 0
        for span in self.spans:
            inside = position - offset
            if inside < len(span) or (inside == len(span) and not start):
                return (span.start + inside) / SAMPLE_RATE
            offset += len(span)
        return self.spans[-1].end / SAMPLE_RATE


@dataclass(frozen=True)
class Word:
    word: str  # with its leading space and its punctuation, so that words concatenate to the text
    start: float  # seconds of the file
    end: float  # seconds of the file
    probability: float


@dataclass(frozen=True)
class Segment:
    """OpenAI's TranscriptionSegment; `start` and `end` are seconds of the file."""

    id: int
    seek: int  # where the segment's window starts, in mel frames of 10 ms
    start: float
    end: float
    text: str  # with its leading space, as Whisper writes it
    tokens: tuple[int, ...]
    temperature: float  # the one that was really used
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None  # None: not asked for


@dataclass(frozen=True)
class TokenLogprob:
    token: str
    logprob: float
    bytes: tuple[int, ...]


@dataclass(frozen=True)
class SpokenSegment:
    """A segment, and the log-probabilities of its text's tokens."""

    segment: Segment
    logprobs: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class TokenUsage:
    audio_tokens: int = 0  # positions of the encoder that hold audio, 50 a second of speech
    text_tokens: int = 0  # of the prompts
    output_tokens: int = 0

    @property
    def input_tokens(self) -> int:
        return self.audio_tokens + self.text_tokens

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.audio_tokens + other.audio_tokens,
            self.text_tokens + other.text_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True)
class Transcript:
    task: Task
    language: str  # Whisper's code of the spoken language, "en"
    duration: float  # seconds of the whole file
    segments: tuple[Segment, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None  # None: not asked for
    usage: TokenUsage = TokenUsage()

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


@dataclass(frozen=True)
class ModelCard:
    """What the API says about the model that is served."""

    id: str
    created: int  # seconds since 1970
    owned_by: str
    languages: Mapping[str, str]  # code → English name; empty for an English-only model's choice
    aliases: tuple[str, ...] = ()
