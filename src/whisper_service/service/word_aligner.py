"""Gives the words of a window their times, and always some times."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

from whisper_service.domain import SAMPLE_RATE, TranscriptionOptions, Window
from whisper_service.engine.aligner import AlignmentError, AlignmentRequest
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.engine import WhisperEngine
from whisper_service.metrics import ALIGNMENTS
from whisper_service.service.parallel import Align
from whisper_service.service.window_decoder import DecodedWindow
from whisper_service.telemetry.record import Stage, stage
from whisper_service.whisper.hallucination import JudgedSegment, first_made_up
from whisper_service.whisper.segments import SegmentedWindow
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary
from whisper_service.whisper.word_times import SpokenText, estimate_words, time_words
from whisper_service.whisper.words import split_words

_LEAST_PROGRESS = 1.0  # seconds of a window that are never heard again

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

    def align_for(self, options: TranscriptionOptions) -> Align:
        """What gives a request's windows their words' times."""
        tasks = self._vocabulary.tasks
        task = self._vocabulary.task_token(options.task) if tasks else NO_TOKEN
        silence = options.hallucination_silence_seconds

        async def align(decoded: DecodedWindow, segmented: SegmentedWindow) -> SegmentedWindow:
            aligned = await self._align(decoded, segmented, task)
            return aligned if silence is None else _believed(decoded.window, aligned, silence)

        return align

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
        return SegmentedWindow(tuple(segments), segmented.covered)

    def _texts(self, decoded: DecodedWindow, segmented: SegmentedWindow) -> Iterator[SpokenText]:
        """Each segment's words, and the probabilities of its text's tokens."""
        language = self._codes.get(decoded.decoding.language, "en")
        logprobs = iter(decoded.decoding.logprobs)
        for segment in segmented.segments:
            known = list(zip(segment.tokens, logprobs, strict=False))
            text = [each for each in known if each[0] < self._vocabulary.end_of_text]
            words = split_words([token for token, _ in text], self._tokenizer, language)
            yield SpokenText(words, [math.exp(logprob) for _, logprob in text])


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
