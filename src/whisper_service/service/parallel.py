"""Long audio, the default way: all windows in flight at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from whisper_service.audio.windows import quietest
from whisper_service.domain import SAMPLE_RATE, WINDOW_SECONDS, Span, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.logprobs import FirstStep
from whisper_service.service.fair_slots import Slots
from whisper_service.service.language_vote import NO_SPEECH, vote
from whisper_service.service.together import together
from whisper_service.service.window_decoder import DecodedWindow, OnFirst, WindowDecoder
from whisper_service.whisper.segments import SegmentedWindow, segment_window
from whisper_service.whisper.vocabulary import Vocabulary

_SHORTEST_TAIL = 0.2  # seconds; less than this holds no word
_UNHEARD_SPEECH = 1.0  # seconds of speech after a window's last time: its text ended early
_SHORTEST_SPLIT = 10.0  # seconds; half of it is still a sentence

Piece = tuple[DecodedWindow, SegmentedWindow]


class ParallelTranscription:
    """One request's windows, decoded side by side and put back in order."""

    def __init__(
        self,
        decoder: WindowDecoder,
        vocabulary: Vocabulary,
        slots: Slots,
        language_threshold: float,
    ) -> None:
        self._decoder = decoder
        self._vocabulary = vocabulary
        self._slots = slots
        self._language_threshold = language_threshold
        self._owner = object()
        self._voiced: Sequence[Span] = ()

    async def run(
        self, windows: Sequence[Window], language: int, voiced: Sequence[Span] = ()
    ) -> list[Piece]:
        """Every window's text, in the order of the audio.

        Args:
            windows: at least one.
            language: its token; NO_TOKEN: the first window that is sure decides for all.
            voiced: where in the file somebody speaks; empty: unknown.
        """
        self._voiced = voiced
        if language != NO_TOKEN or not self._vocabulary.is_multilingual or len(windows) == 1:
            return _flat(await together([self._window(window, language) for window in windows]))
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[int] = loop.create_future()
        decided: asyncio.Future[int] = loop.create_future()
        first, rest = await together(
            [
                self._first_window(windows[0], heard),
                self._later_windows(windows, heard, decided),
            ]
        )
        if first[0][0].decoding.language != decided.result():
            first = await self._window(windows[0], decided.result())
        return first + rest

    async def _first_window(self, window: Window, heard: asyncio.Future[int]) -> list[Piece]:
        """Decodes the window and tells its language early, NO_TOKEN where it is not sure."""

        def on_first(language: int, step: FirstStep) -> None:
            sure = step.language_prob >= self._language_threshold
            if not heard.done():
                heard.set_result(language if sure and step.no_speech_prob < NO_SPEECH else NO_TOKEN)

        return await self._window(window, NO_TOKEN, on_first)

    async def _later_windows(
        self, windows: Sequence[Window], heard: asyncio.Future[int], decided: asyncio.Future[int]
    ) -> list[Piece]:
        language = await heard
        if language == NO_TOKEN:
            async with self._slots.slot(self._owner):
                language = await vote(self._decoder, windows, self._language_threshold)
        decided.set_result(language)
        return _flat(await together([self._window(each, language) for each in windows[1:]]))

    async def _window(
        self, window: Window, language: int, on_first: OnFirst | None = None
    ) -> list[Piece]:
        """The window, and what its text leaves uncovered, until nothing is."""
        pieces: list[Piece] = []
        while True:
            async with self._slots.slot(self._owner):
                decoded = await self._decoder.decode(
                    window,
                    language,
                    on_first=on_first,
                    splittable=window.seconds >= _SHORTEST_SPLIT,
                )
            on_first, language = None, decoded.decoding.language
            segmented = segment_window(decoded.decoding.tokens, window.seconds, self._vocabulary)
            if decoded.to_split or _was_cut_off(decoded, segmented):
                halves = _halves(window)
                return pieces + _flat([await self._window(half, language) for half in halves])
            pieces.append((decoded, segmented))
            covered = self._covered(decoded, segmented)
            if decoded.silent or window.seconds - covered < _SHORTEST_TAIL:
                return pieces
            window = window.after(covered)

    def _covered(self, decoded: DecodedWindow, segmented: SegmentedWindow) -> float:
        """Seconds of the window whose speech is in its text.

        Whisper may end its text early, after one sentence of many. It is taken at its word that the
        rest is silence, unless there is speech.
        """
        if not segmented.segments:
            return decoded.window.seconds
        last = segmented.segments[-1].end
        unheard = _overlap(decoded.window.after(last).spans, self._voiced)
        return last if unheard >= _UNHEARD_SPEECH * SAMPLE_RATE else segmented.covered


def _was_cut_off(decoded: DecodedWindow, segmented: SegmentedWindow) -> bool:
    """Whether the token limit came before any pair of timestamps: more is said than is known."""
    limited = not decoded.decoding.finished and not decoded.decoding.looped
    alone = len(segmented.segments) <= 1 and segmented.covered >= decoded.window.seconds
    return limited and alone and decoded.window.seconds > WINDOW_SECONDS / 4


def _halves(window: Window) -> tuple[Window, Window]:
    """The window cut in a pause near its middle."""
    third = len(window.samples) // 3
    return window.cut(quietest(window.samples, third, 2 * third))


def _overlap(some: Sequence[Span], others: Sequence[Span]) -> int:
    """Samples that are in both."""
    return sum(
        max(0, min(one.end, other.end) - max(one.start, other.start))
        for one in some
        for other in others
    )


def _flat(parts: Sequence[list[Piece]]) -> list[Piece]:
    return [piece for part in parts for piece in part]
