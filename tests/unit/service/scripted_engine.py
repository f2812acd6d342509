"""An engine that answers as a test says, and windows whose samples tell where they come from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.unit.whisper.byte_level import small_model
from whisper_service.domain import SAMPLE_RATE, Span, TranscriptionOptions, Window
from whisper_service.engine.aligner import AlignmentRequest
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.logprobs import FirstStep
from whisper_service.engine.requests import Decoding, DecodingRequest, LanguageEvidence
from whisper_service.service.window_decoder import WindowDecoder
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary

VOCABULARY, TOKENIZER = small_model()
EN, DE, FR = VOCABULARY.languages.values()


def at(seconds: float) -> int:
    """The timestamp's token."""
    return VOCABULARY.timestamp_begin + round(seconds / 0.02)


def tokens_of(*parts: float | str) -> tuple[int, ...]:
    """Tokens of times and texts: `tokens_of(0, " hello", 2.5)`."""
    tokens: list[int] = []
    for part in parts:
        tokens += TOKENIZER.encode(part) if isinstance(part, str) else [at(part)]
    return tuple(tokens)


def said(
    *parts: float | str,
    language: int = NO_TOKEN,
    sure: float = 0.99,
    no_speech: float = 0.01,
    logprob: float = -0.2,
    finished: bool = True,
    looped: bool = False,
) -> Decoding:
    """What the engine made of a window. NO_TOKEN for the language: the one that was asked for."""
    tokens = tokens_of(*parts)
    return Decoding(
        tokens=tokens,
        logprobs=(logprob,) * (len(tokens) + 1),
        language=language,
        language_prob=sure,
        no_speech_prob=no_speech,
        temperature=0.0,
        finished=finished,
        looped=looped,
    )


def start_of(request: DecodingRequest) -> float:
    """Where in the file the request's samples start, in seconds."""
    return float(request.samples[0]) / SAMPLE_RATE


def length_of(request: DecodingRequest) -> float:
    return len(request.samples) / SAMPLE_RATE


def window_at(*spans: tuple[float, float]) -> Window:
    """A window of these stretches of the file, in seconds; each sample is its own number."""
    cut = [Span(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in spans]
    samples = np.concatenate([np.arange(span.start, span.end) for span in cut])
    return Window(samples.astype(np.float32), tuple(cut))


def windows_at(*starts: float, seconds: float = 30.0) -> list[Window]:
    return [window_at((start, start + seconds)) for start in starts]


Answer = Callable[[DecodingRequest], Decoding | Exception]
Hears = Callable[[DecodingRequest], LanguageEvidence]


@dataclass
class ScriptedEngine:
    """Stands in for a `WhisperEngine`.

    asked, heard, aligned: the requests so far, of texts, of languages and of words' times.
    gates: a request that starts at such a second of the file waits for its event, after its
        language is told.
    running, most: requests that are being answered, and how many there were at most.
    """

    answer: Answer
    hears: Hears | None = None
    default_language: int = EN
    aligns: Callable[[AlignmentRequest], tuple[float, ...] | Exception] | None = None
    aligned: list[AlignmentRequest] = field(default_factory=list)
    gates: dict[float, asyncio.Event] = field(default_factory=dict)
    asked: list[DecodingRequest] = field(default_factory=list)
    heard: list[DecodingRequest] = field(default_factory=list)
    ended: list[DecodingRequest] = field(default_factory=list)
    running: int = 0
    most: int = 0

    async def decode(
        self,
        request: DecodingRequest,
        on_first: Callable[[int, FirstStep], None] | None = None,
    ) -> Decoding:
        self.asked.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            answer = self.answer(request)
            if isinstance(answer, Exception):
                raise answer
            answer = self._completed(answer, request)
            if on_first is not None:
                on_first(answer.language, FirstStep(answer.no_speech_prob, answer.language_prob))
            await asyncio.sleep(0)
            if (gate := self.gates.get(start_of(request))) is not None:
                await gate.wait()
            self.ended.append(request)
            return answer
        finally:
            self.running -= 1

    def _completed(self, answer: Decoding, request: DecodingRequest) -> Decoding:
        language = answer.language
        if language == NO_TOKEN:
            wanted = request.language
            language = self.default_language if wanted == NO_TOKEN else wanted
        return Decoding(
            **(vars(answer) | {"language": language, "temperature": request.temperature})
        )

    async def align(self, request: AlignmentRequest) -> tuple[float, ...]:
        self.aligned.append(request)
        await asyncio.sleep(0)
        assert self.aligns is not None, "nobody was to ask for words"
        answer = self.aligns(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def hear_language(self, request: DecodingRequest) -> LanguageEvidence:
        self.heard.append(request)
        self.running += 1
        try:
            await asyncio.sleep(0)
            assert self.hears is not None, "nobody was to ask for the language"
            return self.hears(request)
        finally:
            self.running -= 1

    def by_start(self) -> dict[float, DecodingRequest]:
        """The requests by where their samples start; each start came once."""
        found = {start_of(request): request for request in self.asked}
        assert len(found) == len(self.asked)
        return found


def decoder_for(
    engine: ScriptedEngine,
    options: TranscriptionOptions | None = None,
    model: tuple[Vocabulary, TextTokenizer] = (VOCABULARY, TOKENIZER),
) -> WindowDecoder:
    greedy = TranscriptionOptions(temperatures=(0.0,))
    return WindowDecoder(engine, *model, options or greedy)  # type: ignore[arg-type]


def texts(pieces: Sequence[object]) -> list[str]:
    """The text of each piece, in order."""
    return [TOKENIZER.decode(decoded.decoding.tokens) for decoded, _ in pieces]  # type: ignore[misc]
