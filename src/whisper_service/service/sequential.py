"""Long audio, the reference's way: one window after the other, each told what was said before.

This is the seek loop of openai/whisper, transcribe.py, with `condition_on_previous_text`.
"""

from __future__ import annotations

from whisper_service.domain import WINDOW_SAMPLES, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.service.fair_slots import Slots
from whisper_service.service.parallel import (
    SHORTEST_SPLIT,
    Align,
    OnPiece,
    Piece,
    quietest_middle,
)
from whisper_service.service.window_decoder import WindowDecoder
from whisper_service.whisper.segments import SegmentedWindow, segment_window
from whisper_service.whisper.vocabulary import Vocabulary

_SHORTEST_REST = 0.1  # seconds; less is no speech
# A text that needed this much chance must not lead the next one astray.
_RESET_TEMPERATURE = 0.5


class SequentialTranscription:
    """One request's speech, window by window, each beginning where the last one's text ended."""

    def __init__(
        self,
        decoder: WindowDecoder,
        vocabulary: Vocabulary,
        slots: Slots,
        on_piece: OnPiece | None = None,
        align: Align | None = None,
    ) -> None:
        self._decoder = decoder
        self._vocabulary = vocabulary
        self._slots = slots
        self._on_piece = on_piece or (lambda _: None)
        self._align = align
        self._owner = object()

    async def run(self, speech: Window, language: int) -> list[Piece]:
        """Every window's text, in the order of the audio.

        Args:
            speech: the whole of it, of any length.
            language: its token; NO_TOKEN: the first window with speech decides.
        """
        pieces: list[Piece] = []
        history = list(self._decoder.prompt)
        while speech.seconds >= _SHORTEST_REST:
            window = speech.cut(min(WINDOW_SAMPLES, len(speech.samples)))[0]
            decoded, segmented = await self._decode(window, language, tuple(history))
            window = decoded.window
            if self._align is not None:
                segmented = await self._align(decoded, segmented)
            pieces.append((decoded, segmented))
            self._on_piece(pieces[-1])
            speech = speech.after(window.seconds if decoded.silent else _covered(segmented))
            if decoded.silent:
                continue
            if language == NO_TOKEN and self._vocabulary.is_multilingual:
                language = decoded.decoding.language
            history += [token for segment in segmented.segments for token in segment.tokens]
            # The reference keeps the last and hottest try of a doubted window; here it may be a
            # cool one, and it is as little to be led by.
            if decoded.doubted or decoded.decoding.temperature > _RESET_TEMPERATURE:
                history = []
        return pieces

    async def _decode(self, window: Window, language: int, history: tuple[int, ...]) -> Piece:
        """The window's text, or that of as much of its beginning as comes to an end.

        A text that repeats itself at each temperature until it is cut off hides what is said
        behind it. The reference goes on behind the whole window then.
        """
        while True:
            async with self._slots.slot(self._owner):
                decoded = await self._decoder.decode(window, language, previous=history)
            segmented = segment_window(decoded.decoding.tokens, window.seconds, self._vocabulary)
            cut_off = decoded.doubted and not decoded.decoding.finished
            if cut_off and segmented.covered == window.seconds >= SHORTEST_SPLIT:
                window = window.cut(quietest_middle(window))[0]
            else:
                return decoded, segmented


def _covered(segmented: SegmentedWindow) -> float:
    """Seconds of the window after which the next one begins.

    Where the text does not say, its last word does if its time is known (openai/whisper,
    transcribe.py, `last_word_end`).
    """
    words = segmented.segments[-1].words if segmented.segments else None
    if segmented.closed or not words or words[-1].end <= 0:
        return segmented.covered
    return words[-1].end
