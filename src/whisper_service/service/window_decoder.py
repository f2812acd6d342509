"""One window, tried until its text can be trusted."""

from __future__ import annotations

import logging
import uuid
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from whisper_service.domain import TranscriptionOptions, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.logprobs import FirstStep
from whisper_service.engine.requests import Decoding, DecodingRequest, LanguageEvidence
from whisper_service.service.window_record import WindowRecord
from whisper_service.whisper.prompt import MAX_PREVIOUS_TOKENS
from whisper_service.whisper.quality import (
    Doubt,
    Measures,
    best,
    compression_ratio,
    doubt,
    is_silence,
)
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

OnFirst = Callable[[int, FirstStep], None]


@dataclass(frozen=True)
class DecodedWindow:
    """The try that was kept.

    silent: whatever the text, there was no speech.
    doubted: no try could be trusted; this was the best of them.
    to_split: the text repeats itself. Half of the window tells whether the speaker did.
    key: names the window to the engine.
    """

    window: Window
    decoding: Decoding
    measures: Measures
    silent: bool
    doubted: bool = False
    to_split: bool = False
    key: str = ""


class WindowDecoder:
    """Decodes windows under one request's options."""

    def __init__(
        self,
        engine: WhisperEngine,
        vocabulary: Vocabulary,
        tokenizer: TextTokenizer,
        options: TranscriptionOptions,
    ) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._options = options
        self._prompt = (
            tuple(tokenizer.encode(f" {options.prompt.strip()}")) if options.prompt.strip() else ()
        )
        self._task = vocabulary.task_token(options.task) if vocabulary.tasks else NO_TOKEN

    @property
    def prompt(self) -> tuple[int, ...]:
        """The caller's prompt as text tokens."""
        return self._prompt[-MAX_PREVIOUS_TOKENS:]

    async def decode(
        self,
        window: Window,
        language: int,
        previous: tuple[int, ...] | None = None,
        on_first: OnFirst | None = None,
        *,
        goes_on_until: tuple[float, float] = (0.0, 0.0),
        speaks: bool = False,
        splittable: bool = False,
    ) -> DecodedWindow:
        """Tries the temperatures in turn until a text is not doubted; else keeps the best.

        Args:
            window: what to decode.
            language: its token; NO_TOKEN: the likeliest, found by the first try for all.
            previous: text tokens of what was said before; None: the caller's prompt. Where no text
                after them can be trusted, the window is tried once without.
            on_first: told the language and the no-speech probability early in the first try.
            goes_on_until: as `DecodingRequest` has it.
            speaks: whether somebody is known to speak in the window: if no text comes after
                `previous`, it is tried once without.
            splittable: whether the caller can split the window rather than see it tried hotter.
        """
        with WindowRecord(window.seconds) as record:
            return await self._try(
                record,
                window,
                language,
                previous,
                on_first,
                goes_on_until=goes_on_until,
                speaks=speaks,
                splittable=splittable,
            )

    async def _try(
        self,
        record: WindowRecord,
        window: Window,
        language: int,
        previous: tuple[int, ...] | None,
        on_first: OnFirst | None,
        *,
        goes_on_until: tuple[float, float],
        speaks: bool,
        splittable: bool,
    ) -> DecodedWindow:
        tries: list[DecodedWindow] = []
        key = uuid.uuid4().hex
        prompt = self.prompt if previous is None else previous
        if prompt and language == NO_TOKEN and self._vocabulary.is_multilingual:
            language, first = await self._detect_language(window, key)
            if on_first is not None:
                on_first(language, first)
                on_first = None
        plan = deque((temperature, prompt) for temperature in self._options.temperatures)
        while plan:
            temperature, prompt = plan.popleft()
            request = DecodingRequest(
                window.samples,
                previous=prompt,
                language=language,
                task=self._task,
                goes_on_until=goes_on_until,
                temperature=temperature,
                seed=_seed(window, len(tries)) if temperature > 0 else 0,
                key=key,
                trace_headers=record.trace_headers,
                keep=self._options.words,
            )
            decoding = await self._engine.decode(request, on_first)
            on_first, language = None, decoding.language
            tries.append(self._measure(window, decoding, key))
            reason = doubt(tries[-1].measures, self._options.quality)
            misled = speaks and bool(prompt) and reason is None and self._is_speechless(tries[-1])
            if reason is None and not misled:
                record.kept("silence" if tries[-1].silent else "text")
                return tries[-1]
            record.doubted(reason.value if reason else "prompt")
            if splittable and reason is Doubt.REPETITIVE and self._may_split(decoding, len(tries)):
                record.kept("split")
                return replace(tries[-1], to_split=True)
            logger.debug("a window is doubted at temperature %s: %s", temperature, reason)
            if prompt and (misled or not plan):
                # A prompt that leads nowhere is the likelier cause than the speech.
                plan = deque([(self._options.temperatures[0], ())])
        record.kept("doubted")
        kept = tries[best([each.measures for each in tries], self._options.quality)]
        return replace(kept, doubted=True)

    def _measure(self, window: Window, decoding: Decoding, key: str) -> DecodedWindow:
        text = self._tokenizer.decode(decoding.tokens)
        measures = Measures(
            avg_logprob=decoding.avg_logprob,
            compression_ratio=compression_ratio(text),
            no_speech_prob=decoding.no_speech_prob,
            looped=decoding.looped,
        )
        silent = is_silence(measures, self._options.quality)
        return DecodedWindow(window, decoding, measures, silent, key=key)

    def _is_speechless(self, decoded: DecodedWindow) -> bool:
        words = (token < self._vocabulary.end_of_text for token in decoded.decoding.tokens)
        return decoded.silent or not any(words)

    def _may_split(self, decoding: Decoding, tries: int) -> bool:
        """A caller's own temperature is to be kept to, but for a text that was cut off."""
        return not decoding.finished or (tries == 1 and len(self._options.temperatures) > 1)

    async def hear_language(self, window: Window, key: str | None = None) -> LanguageEvidence:
        """What a window says of its language, whatever the caller's prompt is in.

        Args:
            window: to hear.
            key: that its tries will have, so that its encoder output serves them as well.
        """
        # With `keep` as its tries have it, so that they need not send the samples again.
        keep = key is not None and self._options.words
        return await self._engine.hear_language(
            DecodingRequest(window.samples, key=key or uuid.uuid4().hex, keep=keep)
        )

    async def _detect_language(self, window: Window, key: str) -> tuple[int, FirstStep]:
        """The likeliest language's token, as openai/whisper's detect_language."""
        heard = await self.hear_language(window, key)
        best = max(heard.probabilities, key=heard.probabilities.__getitem__)
        return best, FirstStep(heard.no_speech_prob, heard.probabilities[best])


def _seed(window: Window, tries: int) -> int:
    """Of a window's try: the same request gives the same text, another window or try another."""
    return zlib.crc32(window.samples.data, tries)
