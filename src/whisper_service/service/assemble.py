"""Decoded windows become one transcript of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from whisper_service.audio.speech import snap_to_speech
from whisper_service.domain import Segment, Span, Task, TokenLogprob, TokenUsage, Transcript
from whisper_service.service.parallel import Piece
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary


class Assembler:
    """Knows how a checkpoint's tokens read."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: TextTokenizer) -> None:
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._codes = {token: code for code, token in vocabulary.languages.items()}

    def transcript(
        self,
        pieces: list[Piece],
        voiced: Sequence[Span],
        *,
        task: Task,
        language: str | None,
        duration: float,
        logprobs: bool,
    ) -> Transcript:
        """The transcript of a file.

        Args:
            pieces: in the order of the audio.
            voiced: where somebody speaks; segments begin and end there. Empty: unknown.
            task: that was asked for.
            language: the code that the caller gave, if any.
            duration: of the whole file, in seconds.
            logprobs: whether the tokens' log-probabilities are wanted.
        """
        return Transcript(
            task=task,
            language=language or self._spoken_language(pieces),
            duration=duration,
            segments=tuple(self._segments(pieces, voiced)),
            logprobs=tuple(self._logprobs(pieces)) if logprobs else None,
            usage=TokenUsage(
                input_tokens=0,
                output_tokens=sum(len(decoded.decoding.tokens) for decoded, _ in pieces),
            ),
        )

    def _spoken_language(self, pieces: list[Piece]) -> str:
        heard = (decoded.decoding.language for decoded, _ in pieces if not decoded.silent)
        return next((self._codes[token] for token in heard if token in self._codes), "en")

    def _segments(self, pieces: Iterable[Piece], voiced: Sequence[Span]) -> Iterator[Segment]:
        identity, previous_end = 0, 0.0
        for decoded, segmented in pieces:
            if decoded.silent:
                continue
            window, decoding, measures = decoded.window, decoded.decoding, decoded.measures
            for part in segmented.segments:
                text = self._tokenizer.decode(part.tokens)
                if not text.strip():
                    continue
                # Whisper often ends a segment where the next begins, beyond a silence that packing
                # took out: only the voice itself says where the two really lie.
                start, end = snap_to_speech(
                    window.file_start(part.start), window.file_end(part.end), voiced
                )
                start = max(start, previous_end)
                end = max(end, start)
                previous_end = end
                yield Segment(
                    id=identity,
                    seek=window.seek,
                    start=start,
                    end=end,
                    text=text,
                    tokens=part.tokens,
                    temperature=decoding.temperature,
                    avg_logprob=measures.avg_logprob,
                    compression_ratio=measures.compression_ratio,
                    no_speech_prob=measures.no_speech_prob,
                )
                identity += 1

    def _logprobs(self, pieces: Iterable[Piece]) -> Iterator[TokenLogprob]:
        for decoded, segmented in pieces:
            if decoded.silent:
                continue
            kept = sum(len(part.tokens) for part in segmented.segments)
            tokens = decoded.decoding.tokens[:kept]
            for token, logprob in zip(tokens, decoded.decoding.logprobs, strict=False):
                if token < self._vocabulary.end_of_text:
                    data = self._tokenizer.token_bytes(token)
                    yield TokenLogprob(data.decode(errors="replace"), logprob, tuple(data))
