"""Gives the words of a window their times, and always some times.

Where nobody asked for them they are found out all the same for a segment that goes on across a
silence: they tell which of its words were said before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from whisper_service.audio.speech import snap_to_speech
from whisper_service.audio.windows import SILENCE_SAMPLES
from whisper_service.domain import SAMPLE_RATE, Span, TranscriptionOptions, Window
from whisper_service.engine.aligner import AlignmentError, AlignmentRequest
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.engine import WhisperEngine
from whisper_service.metrics import ALIGNMENTS
from whisper_service.service.parallel import Align, overlap
from whisper_service.service.window_decoder import DecodedWindow
from whisper_service.telemetry.record import Stage, stage
from whisper_service.whisper.hallucination import JudgedSegment, first_made_up
from whisper_service.whisper.pauses import (
    cut_in_pauses,
    spans_a_pause,
    where_the_words_are,
)
from whisper_service.whisper.segments import SegmentedWindow, TimedTokens
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary
from whisper_service.whisper.word_times import SpokenText, estimate_words, time_words
from whisper_service.whisper.words import split_words, with_whole_characters

_UNHEARD_SECONDS = 0.4  # of speech without words: a short sentence; less is a noise
_LEAST_PROGRESS = 1.0  # seconds of a window that are never heard again
# Of what is left of a silence that was shortened, half is on either side; and the shortest word.
_MARGIN = SILENCE_SAMPLES / SAMPLE_RATE / 2 + 0.2  # seconds

logger = logging.getLogger(__name__)


class WordAligner:
    """Knows how a checkpoint's tokens read as words."""

    def __init__(
        self, engine: WhisperEngine, vocabulary: Vocabulary, tokenizer: TextTokenizer
    ) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._codes = {token: code for code, token in vocabulary.languages.items()}

    def align_for(self, options: TranscriptionOptions, voiced: Sequence[Span] = ()) -> Align:
        """What gives a request's windows their words' times, and cuts segments in silences.

        `voiced`: where somebody speaks; empty: unknown.
        """
        tasks = self._vocabulary.tasks
        task = self._vocabulary.task_token(options.task) if tasks else NO_TOKEN
        silence = options.hallucination_silence_seconds
        padding = options.speech.prefix_padding_ms / 1000 if options.speech else 0
        pausing = _Pausing(voiced, _MARGIN + padding)

        async def with_words(decoded: DecodedWindow, segmented: SegmentedWindow) -> SegmentedWindow:
            aligned = await self._align(decoded, segmented, task)
            aligned = replace(aligned, covered=pausing.heard_until(segmented, aligned, decoded))
            if silence is not None:
                aligned = _believed(decoded.window, aligned, silence)
            return self._cut(aligned, _pauses(decoded.window))

        async def without(decoded: DecodedWindow, segmented: SegmentedWindow) -> SegmentedWindow:
            pauses = _pauses(decoded.window)
            if not pausing.is_in(segmented.segments, decoded.window):
                return segmented
            aligned = await self._align(decoded, segmented, task)
            covered = pausing.heard_until(segmented, aligned, decoded)
            timed = [
                replace(segment, words=known.words)
                for segment, known in zip(segmented.segments, aligned.segments, strict=True)
            ]
            cut = self._cut(replace(segmented, segments=tuple(timed)), pauses)
            segments = (where_the_words_are(segment, pauses) for segment in cut.segments)
            wordless = (replace(segment, words=None) for segment in segments)
            return SegmentedWindow(tuple(wordless), covered)

        return with_words if options.words else without

    def _cut(self, timed: SegmentedWindow, pauses: Sequence[float]) -> SegmentedWindow:
        """The window with its segments cut in the silences that were shortened."""
        return replace(
            timed,
            segments=tuple(
                part
                for segment in timed.segments
                for part in cut_in_pauses(segment, pauses, self._vocabulary.end_of_text)
            ),
        )

    async def _align(
        self, decoded: DecodedWindow, segmented: SegmentedWindow, task: int
    ) -> SegmentedWindow:
        """The window with the words of its segments; estimated ones, where the engine fails.

        Raises:
            ServiceError: the engine is dead.
        """
        if decoded.silent:
            return segmented
        texts = list(self._texts(decoded, segmented))
        tokens = tuple(
            token
            for segment in segmented.segments
            for token in segment.tokens
            if token < self._vocabulary.end_of_text
        )
        if not tokens:
            return segmented
        request = AlignmentRequest(
            decoded.key, decoded.window.samples, decoded.decoding.language, task, tokens
        )
        with stage(Stage.ALIGN):
            try:
                boundaries = await self._engine.align(request)
            except AlignmentError as error:
                logger.warning("words of a window are estimated: %s", error)
                ALIGNMENTS.labels("estimated").inc()
                segments = [*map(estimate_words, segmented.segments, texts)]
            else:
                segments = time_words(segmented.segments, texts, boundaries)
        return replace(segmented, segments=tuple(segments))

    def _texts(self, decoded: DecodedWindow, segmented: SegmentedWindow) -> Iterator[SpokenText]:
        """Each segment's words, and the probabilities of its text's tokens."""
        language = self._codes.get(decoded.decoding.language, "en")
        logprobs = iter(decoded.decoding.logprobs)
        for segment in segmented.segments:
            known = list(zip(segment.tokens, logprobs, strict=False))
            text = [each for each in known if each[0] < self._vocabulary.end_of_text]
            words = split_words([token for token, _ in text], self._tokenizer, language)
            yield SpokenText(
                with_whole_characters(words), [math.exp(logprob) for _, logprob in text]
            )


@dataclass(frozen=True)
class _Pausing:
    """Tells whether segments go on across a silence that was shortened, and have to be cut."""

    voiced: Sequence[Span]  # where somebody speaks; empty: unknown
    margin: float  # seconds beyond a silence that may be Whisper's rounding, where it is unknown

    def is_in(self, segments: Sequence[TimedTokens], window: Window) -> bool:
        pauses = _pauses(window)
        if not self.voiced:
            return any(spans_a_pause(segment, pauses, self.margin) for segment in segments)
        ends = [*(segment.start for segment in segments[1:]), window.seconds]
        return any(
            spans_a_pause(segment, pauses, 0)
            and self._has_speech_behind(segment.start, max(segment.end, end), window)
            for segment, end in zip(segments, ends, strict=False)
        )

    def heard_until(
        self, segmented: SegmentedWindow, aligned: SegmentedWindow, decoded: DecodedWindow
    ) -> float:
        """What `covered` is, now that the words' times are known.

        The last segment may claim the time of a second sentence, and have the first one's words
        only. Then the speech behind the silence is to be heard again.
        """
        if not segmented.segments or not (words := aligned.segments[-1].words):
            return aligned.covered
        window, claimed = decoded.window, segmented.segments[-1].end
        said_until = (words[-1].start + words[-1].end) / 2
        for pause in _pauses(window):
            if said_until < pause < claimed:
                unheard = window.after(pause).cut(round((claimed - pause) * SAMPLE_RATE))[0]
                if overlap(unheard.spans, self.voiced) >= _UNHEARD_SECONDS * SAMPLE_RATE:
                    return min(aligned.covered, pause)
        return aligned.covered

    def _has_speech_behind(self, first: float, last: float, window: Window) -> bool:
        """Whether what a segment may be about is speech on both sides of a silence.

        That is all until the next segment: the time at which this one ends may be too early.
        """
        times = window.file_start(first), window.file_end(last)
        start, end = (time * SAMPLE_RATE for time in snap_to_speech(*times, self.voiced))
        return any(start < span.end < end for span in window.spans[:-1])


def _pauses(window: Window) -> list[float]:
    """Where silence was taken out of the window, in its seconds."""
    lengths = accumulate(len(span) / SAMPLE_RATE for span in window.spans)
    return [*lengths][:-1]


def _believed(window: Window, aligned: SegmentedWindow, silence: float) -> SegmentedWindow:
    """What of the window's text was not made up; the speech after it is to be heard again.

    As in the reference, from where the made-up text began; where that is the beginning of the
    window, from its end, for it would only be made up again.
    """
    judged = [
        JudgedSegment(*window.file_times(each.start, each.end), each.words or ())
        for each in aligned.segments
    ]
    end = window.spans[-1].end / SAMPLE_RATE
    made_up = first_made_up(judged, window.file_start(0), end, silence)
    if made_up is None:
        return aligned
    segment = aligned.segments[made_up]
    covered = segment.start if segment.start >= _LEAST_PROGRESS else segment.end
    if window.seconds - segment.end < silence:
        covered = window.seconds
    return SegmentedWindow(aligned.segments[:made_up], max(covered, _LEAST_PROGRESS))
