"""Long audio, the default way: all windows in flight at once."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise

from whisper_service.audio.windows import quietest
from whisper_service.domain import SAMPLE_RATE, TIME_PRECISION, WINDOW_SECONDS, Span, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.logprobs import FirstStep
from whisper_service.service.fair_slots import Slots
from whisper_service.service.in_order import InOrder
from whisper_service.service.language_vote import NO_SPEECH, vote
from whisper_service.service.together import together
from whisper_service.service.window_decoder import DecodedWindow, OnFirst, WindowDecoder
from whisper_service.whisper.segments import SegmentedWindow, TimedTokens, segment_window
from whisper_service.whisper.vocabulary import Vocabulary

_SHORTEST_TAIL = 0.2  # seconds; less than this holds no word
_UNHEARD_SPEECH = 1.0  # seconds of speech after which a text may not end yet
_LEFT_OUT = 0.5  # seconds of speech after a window's last time, from which on that is heard again
SHORTEST_SPLIT = 3.0  # seconds; half of it is still a few words
_SHORTEST_TERSE = 10.0  # seconds; half of it is still a sentence
_LEAST_SPEECH = 1.0  # seconds of speech in a window, from which on a text is expected
# Text tokens a second of speech, from and to which a doubtful text is believed: less is a part of
# what was said, more was made up (speech in scripts that are written byte by byte has twenty).
_LEAST_TOKENS, _MOST_TOKENS = 2.0, 30.0
_LEAST_TOKENS_WITH_PAUSES = 3.0
_TERSE_TOKENS = 1.0  # text tokens a second of speech; people speak three and more
_TERSE_SECONDS = 4.0  # of speech in one segment, from which on that is told from a pause
_PAUSE = 0.5  # seconds without speech, which two sentences may have between them
# A longer one is no part of a segment; voice activity detection leaves none in a window.
_LONG_PAUSE = 2.0
_SPEECH_ASIDE = 0.5  # seconds of speech on either side of such a pause; less is no sentence

Piece = tuple[DecodedWindow, SegmentedWindow]
OnPiece = Callable[[Piece], None]
Align = Callable[[DecodedWindow, SegmentedWindow], Awaitable[SegmentedWindow]]


class ParallelTranscription:
    """One request's windows, decoded side by side and put back in order."""

    def __init__(
        self,
        decoder: WindowDecoder,
        vocabulary: Vocabulary,
        slots: Slots,
        language_threshold: float,
        on_piece: OnPiece | None = None,
        *,
        slow_start: bool = False,
        align: Align | None = None,
    ) -> None:
        """
        Args:
            decoder: of the request.
            vocabulary: of the checkpoint.
            slots: the engine's places for windows.
            language_threshold: the probability from which on one window decides for the file.
            on_piece: told each piece of text in the order of the audio, as soon as it is certain.
            slow_start: whether one window starts, and two more for each that ends, so that the
                first are not held up by all the others: somebody waits for their text.
            align: gives the words their times, and cuts segments in silences; None: neither.
        """
        self._decoder = decoder
        self._vocabulary = vocabulary
        self._slots = slots
        self._language_threshold = language_threshold
        self._on_piece = on_piece or (lambda _: None)
        self._may_start = asyncio.Semaphore(0) if slow_start else None
        self._align = align
        self._owner = object()
        self._voiced: Sequence[Span] = ()
        self._pieces: InOrder[Piece] = InOrder(0, self._on_piece)

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
        self._pieces = InOrder(len(windows), self._on_piece)
        if language == NO_TOKEN and self._vocabulary.is_multilingual and len(windows) > 1:
            await self._find_language_and_run(windows)
        else:
            await together([self._part(0, windows[0], language), self._others(windows, language)])
        return self._pieces.results

    async def _find_language_and_run(self, windows: Sequence[Window]) -> None:
        heard: asyncio.Future[tuple[int, bool]] = asyncio.get_running_loop().create_future()

        def on_first(language: int, step: FirstStep) -> None:
            sure = step.language_prob >= self._language_threshold
            if not heard.done():
                heard.set_result((language, sure and step.no_speech_prob < NO_SPEECH))

        async def others() -> int:
            guess, sure = await heard
            language = guess if sure else await self._vote(windows)
            if language == guess:
                self._pieces.release(0)
            return await self._others(windows, language)

        self._pieces.hold(0)
        guess, language = await together([self._part(0, windows[0], NO_TOKEN, on_first), others()])
        if guess != language:
            self._pieces.restart(0)
            await self._part(0, windows[0], language)
            self._pieces.release(0)

    async def _vote(self, windows: Sequence[Window]) -> int:
        async with self._slots.slot(self._owner):
            return await vote(self._decoder, windows, self._language_threshold)

    async def _others(self, windows: Sequence[Window], language: int) -> int:
        """All windows but the first. Returns their language."""

        async def other(part: int) -> None:
            if self._may_start is not None:
                await self._may_start.acquire()
            await self._part(part, windows[part], language)

        await together([other(part) for part in range(1, len(windows))])
        return language

    async def _part(
        self, part: int, window: Window, language: int, on_first: OnFirst | None = None
    ) -> int:
        """One of the file's windows, to its end. Returns its language."""
        language = await self._window(self._pieces, part, window, language, on_first)
        self._pieces.end(part)
        if self._may_start is not None:
            self._may_start.release()
            self._may_start.release()
        return language

    async def _window(
        self,
        pieces: InOrder[Piece],
        part: int,
        window: Window,
        language: int,
        on_first: OnFirst | None = None,
    ) -> int:
        """The window, and what its text leaves uncovered, until nothing is."""
        while True:
            async with self._slots.slot(self._owner):
                speaks = overlap(window.spans, self._voiced) >= _LEAST_SPEECH * SAMPLE_RATE
                decoded = await self._decoder.decode(
                    window,
                    language,
                    on_first=on_first,
                    goes_on_until=(
                        _before_the_last(_UNHEARD_SPEECH, window, self._voiced),
                        _before_the_last(_SHORTEST_TAIL, window, self._voiced),
                    ),
                    speaks=speaks,
                    splittable=speaks and window.seconds >= SHORTEST_SPLIT,
                )
            on_first, language = None, decoded.decoding.language
            segmented = self._segmented(decoded)
            if (cut := self._where_to_split(decoded, segmented)) is not None:
                await self._both_parts(pieces, part, window.cut(cut), language)
                return language
            covered = self._covered(decoded, segmented)
            if self._align is not None:
                segmented = await self._align(decoded, segmented)
                covered = min(covered, segmented.covered)
            pieces.add(part, (decoded, segmented))
            if decoded.silent or window.seconds - covered < _SHORTEST_TAIL:
                return language
            window = window.after(covered)

    async def _both_parts(
        self, pieces: InOrder[Piece], part: int, windows: tuple[Window, Window], language: int
    ) -> None:
        """Of a window, at once; the second's text follows the first's."""
        both: InOrder[Piece] = InOrder(2, lambda piece: pieces.add(part, piece))

        async def one(number: int, window: Window) -> None:
            await self._window(both, number, window, language)
            both.end(number)

        await together([one(number, window) for number, window in enumerate(windows)])

    def _segmented(self, decoded: DecodedWindow) -> SegmentedWindow:
        """The window's segments, an open text at its end among them where that can be believed.

        The reference leaves such a text to the next window, which has more audio. This window ends
        where speech does: decoded again, the rest would only have less.
        """
        tokens, seconds = decoded.decoding.tokens, decoded.window.seconds
        closed = segment_window(tokens, seconds, self._vocabulary)
        if not decoded.decoding.finished or closed.covered >= seconds:
            return closed
        whole = segment_window(tokens, seconds, self._vocabulary, to_the_end=True)
        added = whole.segments[len(closed.segments) :]
        skipped = TimedTokens(closed.covered, added[0].start if added else seconds, ())
        if self._voiced_seconds(decoded.window, skipped) > _SHORTEST_TAIL:
            return closed
        believed = all(self._is_one_utterance(decoded, part) for part in added)
        return whole if believed else closed

    def _is_one_utterance(self, decoded: DecodedWindow, part: TimedTokens) -> bool:
        """Whether the text may be all that was said there.

        After a pause there may be more that was said, which a short text leaves out.
        """
        stretches = {
            place for place, _ in _shared(_heard(decoded.window, part).spans, self._voiced)
        }
        least = _LEAST_TOKENS if len(stretches) <= 1 else _LEAST_TOKENS_WITH_PAUSES
        return least <= self._density(decoded, part) <= _MOST_TOKENS

    def _where_to_split(self, decoded: DecodedWindow, segmented: SegmentedWindow) -> int | None:
        """The sample at which to split the window, since its text cannot be all; None: it may be.

        A segment that says next to nothing for the time that somebody speaks in it is one sentence
        with the time of several. Whisper does not leave them out with less audio at once.
        """
        window = decoded.window
        if decoded.to_split or _was_cut_off(decoded, segmented):
            return quietest_middle(window)
        if decoded.silent:
            return None
        for part in segmented.segments:
            density, pause = self._density(decoded, part), self._longest_pause(window, part)
            if pause and (density < _LEAST_TOKENS or len(pause) > _LONG_PAUSE * SAMPLE_RATE):
                return (pause.start + pause.end) // 2
            is_long = self._voiced_seconds(window, part) > _TERSE_SECONDS
            if density < _TERSE_TOKENS and is_long and window.seconds >= _SHORTEST_TERSE:
                return quietest_middle(window)
        return None

    def _longest_pause(self, window: Window, part: TimedTokens) -> Span | None:
        """The longest pause of a segment that has speech on both sides, in samples of the window.

        None: there is none of `_PAUSE` and more.
        """
        speech = [
            Span(max(span.start, start), min(span.end, end))
            for start, end in [(round(part.start * SAMPLE_RATE), round(part.end * SAMPLE_RATE))]
            for span in _inside(window, self._voiced)
            if span.start < end and span.end > start
        ]
        total = sum(map(len, speech))
        pauses = []
        before = 0
        for one, following in pairwise(speech):
            before += len(one)
            if min(before, total - before) >= _SPEECH_ASIDE * SAMPLE_RATE:
                pauses.append(Span(one.end, following.start))
        longest = max(pauses, key=len, default=Span(0, 0))
        return longest if len(longest) >= _PAUSE * SAMPLE_RATE else None

    def _density(self, decoded: DecodedWindow, part: TimedTokens) -> float:
        """Text tokens for each second in which somebody speaks."""
        said = sum(token < self._vocabulary.end_of_text for token in part.tokens)
        seconds = self._voiced_seconds(decoded.window, part)
        return said / seconds if seconds else math.inf

    def _voiced_seconds(self, window: Window, part: TimedTokens) -> float:
        return overlap(_heard(window, part).spans, self._voiced) / SAMPLE_RATE

    def _covered(self, decoded: DecodedWindow, segmented: SegmentedWindow) -> float:
        """Seconds of the window whose speech is in its text.

        Whisper may end its text early, after one sentence of many. It is taken at its word that the
        rest is silence, unless there is speech.
        """
        if not segmented.segments:
            return decoded.window.seconds
        last = segmented.segments[-1].end
        unheard = overlap(decoded.window.after(last).spans, self._voiced)
        return last if unheard >= _LEFT_OUT * SAMPLE_RATE else segmented.covered


def _heard(window: Window, part: TimedTokens) -> Window:
    """What of the window a segment is about."""
    return window.after(part.start).cut(round(max(part.end - part.start, 0) * SAMPLE_RATE))[0]


def _was_cut_off(decoded: DecodedWindow, segmented: SegmentedWindow) -> bool:
    """Whether the token limit came before any pair of timestamps: more is said than is known."""
    limited = not decoded.decoding.finished and not decoded.decoding.looped
    alone = len(segmented.segments) <= 1 and segmented.covered >= decoded.window.seconds
    return limited and alone and decoded.window.seconds > WINDOW_SECONDS / 4


def quietest_middle(window: Window) -> int:
    """The sample near the window's middle at which to split it: in a pause."""
    third = len(window.samples) // 3
    return quietest(window.samples, third, 2 * third)


def _inside(window: Window, voiced: Sequence[Span]) -> Iterator[Span]:
    """What of the file's speech is in the window, in samples of the window."""
    offset = 0
    for span in window.spans:
        for place, _ in _shared([span], voiced):
            start, end = (
                min(max(edge, span.start), span.end) - span.start + offset
                for edge in (voiced[place].start, voiced[place].end)
            )
            yield Span(start, end)
        offset += len(span)


def overlap(some: Sequence[Span], others: Sequence[Span]) -> int:
    """Samples that are in both."""
    return sum(samples for _, samples in _shared(some, others))


def _before_the_last(seconds: float, window: Window, voiced: Sequence[Span]) -> float:
    """The first time of the window after which somebody speaks for less; 0: nobody does so long."""
    left = round(seconds * SAMPLE_RATE)
    end = len(window.samples)
    for span in reversed(window.spans):
        shared = [(voiced[place], samples) for place, samples in _shared([span], voiced)]
        for other, samples in reversed(shared):
            left -= samples
            if left <= 0:
                begin = max(other.start, span.start) - left
                return (end - (span.end - begin)) / SAMPLE_RATE + TIME_PRECISION
        end -= len(span)
    return 0.0


def _shared(some: Sequence[Span], others: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Which of the others overlap, by their places, and in how many samples.

    Args:
        some: few.
        others: in order and disjoint; they may be all the speech of hours.
    """
    for one in some:
        for place in range(bisect_right(others, one.start, key=lambda span: span.end), len(others)):
            other = others[place]
            if other.start >= one.end:
                break
            yield place, min(one.end, other.end) - max(one.start, other.start)
