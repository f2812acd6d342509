"""Decoded windows become one transcript of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whisper_service.audio.speech import snap_to_speech, snap_word_to_speech
from whisper_service.domain import (
    ENCODER_POSITIONS_PER_SECOND,
    Segment,
    Span,
    SpokenSegment,
    Task,
    TokenLogprob,
    TokenUsage,
    Transcript,
    Window,
    Word,
)
from whisper_service.service.parallel import Piece
from whisper_service.service.window_decoder import DecodedWindow
from whisper_service.whisper.segments import TimedTokens, TimedWord
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary
from whisper_service.whisper.word_times import in_order


class Assembler:
    """Knows how a checkpoint's tokens read."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: TextTokenizer) -> None:
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._codes = {token: code for code, token in vocabulary.languages.items()}

    def begin(self, voiced: Sequence[Span], *, prompt_tokens: int = 0) -> Assembly:
        """The transcript of a file, still empty.

        Args:
            voiced: where somebody speaks; segments begin and end there. Empty: unknown.
            prompt_tokens: that each window is given.
        """
        return Assembly(self, voiced, prompt_tokens)

    def text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens)

    def language(self, token: int) -> str | None:
        return self._codes.get(token)

    def logprob(self, token: int, logprob: float) -> TokenLogprob | None:
        """None for a token that is no text."""
        if token >= self._vocabulary.end_of_text:
            return None
        data = self._tokenizer.token_bytes(token)
        return TokenLogprob(data.decode(errors="replace"), logprob, tuple(data))


class Assembly:
    """One file's transcript while it grows, piece by piece in the order of the audio."""

    def __init__(self, assembler: Assembler, voiced: Sequence[Span], prompt_tokens: int) -> None:
        self._assembler = assembler
        self._voiced = voiced
        self._prompt_tokens = prompt_tokens
        self._segments: list[Segment] = []
        self._logprobs: list[TokenLogprob] = []
        self._language: str | None = None
        self._usage = TokenUsage()

    def add(self, piece: Piece) -> list[SpokenSegment]:
        """The segments that the piece adds."""
        decoded, segmented = piece
        self._usage += TokenUsage(
            audio_tokens=round(decoded.window.seconds * ENCODER_POSITIONS_PER_SECOND),
            text_tokens=self._prompt_tokens,
            output_tokens=len(decoded.decoding.tokens),
        )
        if decoded.silent:
            return []
        self._language = self._language or self._assembler.language(decoded.decoding.language)
        added = []
        logprobs = iter(decoded.decoding.logprobs)
        for part in segmented.segments:
            spoken = list(self._spoken(part.tokens, logprobs))
            if segment := self._segment(decoded, part):
                self._segments.append(segment)
                self._logprobs += spoken
                added.append(SpokenSegment(segment, tuple(spoken)))
        return added

    def _spoken(self, tokens: Sequence[int], logprobs: Iterator[float]) -> Iterator[TokenLogprob]:
        for token, logprob in zip(tokens, logprobs, strict=False):
            if (one := self._assembler.logprob(token, logprob)) is not None:
                yield one

    def _segment(self, decoded: DecodedWindow, part: TimedTokens) -> Segment | None:
        """None where the text is blank."""
        text = self._assembler.text(part.tokens)
        if not text.strip():
            return None
        window, decoding, measures = decoded.window, decoded.decoding, decoded.measures
        # Whisper often ends a segment where the next begins, beyond a silence that packing took
        # out: only the voice itself says where the two really lie.
        start, end = snap_to_speech(
            window.file_start(part.start), window.file_end(part.end), self._voiced
        )
        start = max(start, self._segments[-1].end if self._segments else 0.0)
        words = None if part.words is None else self._words(window, part.words)
        if words:
            start, end = words[0].start, words[-1].end
        return Segment(
            id=len(self._segments),
            seek=window.seek,
            start=start,
            end=max(end, start),
            text=text,
            tokens=part.tokens,
            temperature=decoding.temperature,
            avg_logprob=measures.avg_logprob,
            compression_ratio=measures.compression_ratio,
            no_speech_prob=measures.no_speech_prob,
            words=words,
        )

    def _words(self, window: Window, words: Sequence[TimedWord]) -> tuple[Word, ...]:
        """In the file's time: in order, none of zero length, and after the segments before."""
        times = [window.file_times(word.start, word.end) for word in words]
        times = [snap_word_to_speech(start, end, self._voiced) for start, end in times]
        earliest = self._segments[-1].end if self._segments else 0.0
        return tuple(
            Word(word.text, start, end, word.probability)
            for word, (start, end) in zip(words, in_order(times, earliest), strict=True)
        )

    def transcript(
        self,
        *,
        task: Task,
        language: str | None,
        duration: float,
        logprobs: bool,
        broken_at: float | None = None,
    ) -> Transcript:
        """All of it.

        Args:
            task: that was asked for.
            language: the code that the caller gave, if any.
            duration: of the whole file, in seconds.
            logprobs: whether the tokens' log-probabilities are wanted.
            broken_at: the second at which the file broke, if it did.
        """
        return Transcript(
            task=task,
            language=language or self._language or "en",
            duration=duration,
            segments=tuple(self._segments),
            logprobs=tuple(self._logprobs) if logprobs else None,
            usage=self._usage,
            broken_at=broken_at,
        )
