"""Where in a recording somebody speaks: what Silero VAD hears, made into spans."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from whisper_service.audio.silero import CONTEXT_SAMPLES, SileroNetwork, State
from whisper_service.domain import SAMPLE_RATE, Samples, Span, SpeechOptions
from whisper_service.errors import Fault, ServiceError

Read = Callable[[int, int], Samples]

FRAME_SAMPLES = 512  # one probability for every 32 ms; what the 16 kHz model was trained on
MIN_SPEECH_MS = 100  # a shorter sound is a click, a cough or a key, not a word

_FRAMES_PER_CALL = 1_024  # 33 s: fast, and a recording of hours stays in little memory
_HYSTERESIS = 0.15  # speech ends this far below the probability at which it begins (Silero's value)
_LOWEST_END = 0.01
_REACH_SECONDS = 0.2  # how far one of Whisper's times may reach into the neighbour's speech
_PAUSE_SECONDS = 0.5  # of silence, which no word has in it


class SpeechDetector:
    """Safe to use from several threads at the same time. Each call uses one thread."""

    def __init__(self) -> None:
        self._loading = Lock()

    def load(self) -> None:
        """Loads the network, and PyTorch with it; else the first call does."""
        with self._loading:
            self._network  # noqa: B018

    @cached_property
    def _network(self) -> SileroNetwork:
        return SileroNetwork()

    def speech_probabilities(
        self, samples: Samples, cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """How likely each frame of 512 samples is speech.

        Args:
            samples: float32[n], 16 kHz mono, in [-1, 1].
            cancelled: asked every half minute of audio whether to give up.

        Returns:
            float32[ceil(n / 512)]; the last frame is filled up with silence.

        Raises:
            ServiceError: TIMED_OUT, when cancelled.
        """
        return self.hear(lambda first, last: samples[first:last], cancelled)

    def hear(self, read: Read, cancelled: Callable[[], bool]) -> NDArray[np.float32]:
        """As `speech_probabilities`, of a recording that may still be arriving.

        Args:
            read: gives samples [first, last), fewer only where the recording ends; may block.
            cancelled: as there.
        """
        parts: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        state: State = None
        self.load()
        for number in count():
            if cancelled():
                raise ServiceError(Fault.TIMED_OUT, "The request was cancelled.")
            first = number * _FRAMES_PER_CALL * FRAME_SAMPLES
            context = min(CONTEXT_SAMPLES, first)  # nothing precedes the first frame
            stretch = read(first - context, first + _FRAMES_PER_CALL * FRAME_SAMPLES)
            frames = -(-(len(stretch) - context) // FRAME_SAMPLES)
            if frames > 0 and not stretch.any():  # a gap of the file; the network needs 3 ms a s
                parts.append(np.zeros(frames, np.float32))
                state = None
            elif frames > 0:
                part, state = self._network(_framed(stretch, context), state)
                parts.append(part)
            if len(stretch) < context + _FRAMES_PER_CALL * FRAME_SAMPLES:
                break
        return np.concatenate(parts)

    def find_speech(
        self,
        samples: Samples,
        options: SpeechOptions,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Span, ...]:
        """The stretches of `samples` (float32[n]) in which somebody speaks.

        As `spans_of_speech` finds them; arguments and errors as of `speech_probabilities`.
        """
        probabilities = self.speech_probabilities(samples, cancelled)
        return spans_of_speech(probabilities, len(samples), options)


def spans_of_speech(
    probabilities: NDArray[np.float32], n_samples: int, options: SpeechOptions
) -> tuple[Span, ...]:
    """The stretches of speech in a recording, in order, disjoint, within [0, n_samples).

    Speech begins with a frame at `options.threshold` and lasts until the frames have been below
    `threshold - 0.15` for `options.silence_duration_ms`. What is shorter than MIN_SPEECH_MS is not
    speech. Each stretch then gets `options.prefix_padding_ms` on both sides, for soft consonants
    and because Whisper wants a little silence around speech. Where the paddings of neighbours meet,
    they share the silence between them equally: the spans touch in its middle, which is the best
    place there is for a cut, and nothing between them is left out.

    Args:
        probabilities: float32[ceil(n_samples / 512)], as `SpeechDetector` gives them.
        n_samples: the recording's length.
        options: thresholds and times.
    """
    starts, ends = _runs_of_speech(probabilities, options.threshold)
    starts, ends = starts * FRAME_SAMPLES, np.minimum(ends * FRAME_SAMPLES, n_samples)

    kept = starts[1:] - ends[:-1] >= _samples(options.silence_duration_ms)  # silences that separate
    starts, ends = starts[np.r_[True, kept][: len(starts)]], ends[np.r_[kept, True][: len(ends)]]

    long_enough = ends - starts >= _samples(MIN_SPEECH_MS)
    starts, ends = starts[long_enough], ends[long_enough]

    padding = _samples(options.prefix_padding_ms)
    middles = (ends[:-1] + starts[1:]) // 2
    padded_starts = np.maximum(starts - padding, np.r_[0, middles][: len(starts)])
    padded_ends = np.minimum(ends + padding, np.r_[middles, n_samples][: len(ends)])
    return tuple(
        Span(int(start), int(end)) for start, end in zip(padded_starts, padded_ends, strict=True)
    )


def snap_to_speech(start: float, end: float, speech: Sequence[Span]) -> tuple[float, float]:
    """A segment's or word's times without the silence that Whisper counts in at either side.

    Whisper likes to end a segment where the next one starts, so that all of the silence between is
    part of one of them. Worse, a time that lies a little beyond the seam of a packed window has
    been mapped to the far side of a silence that was cut out, which can be minutes. So a time in
    silence, or just inside the neighbour's speech, moves to where this segment's speech is.

    Times only ever move towards each other. Where there is little speech between them, as in a
    short word, it is theirs; where there is none they stay.

    Args:
        start: seconds of the file.
        end: seconds of the file, not before `start`.
        speech: what `spans_of_speech` finds with a `prefix_padding_ms` of 0.
    """
    first = bisect_right(speech, start * SAMPLE_RATE, key=lambda span: span.end)
    if first < len(speech) and speech[first].end - start * SAMPLE_RATE < _reach(speech[first]):
        first += 1
    last = bisect_left(speech, end * SAMPLE_RATE, key=lambda span: span.start) - 1
    if last >= 0 and end * SAMPLE_RATE - speech[last].start < _reach(speech[last]):
        last -= 1
    if first > last:
        return _most_speech(start, end, speech)
    return max(start, speech[first].start / SAMPLE_RATE), min(end, speech[last].end / SAMPLE_RATE)


def snap_word_to_speech(start: float, end: float, speech: Sequence[Span]) -> tuple[float, float]:
    """A word's times, as `snap_to_speech`, but not across a pause.

    Alignment gives a pause to the word before or after it. No word has one of half a second in it:
    such a word is where most of its speech is.
    """
    return _most_speech(*snap_to_speech(start, end, speech), speech)


def _most_speech(start: float, end: float, speech: Sequence[Span]) -> tuple[float, float]:
    """Of the times' speech the longest stretch without a pause; else the times themselves."""
    stretches: list[tuple[float, float]] = []
    first = bisect_right(speech, start * SAMPLE_RATE, key=lambda span: span.end)
    for index in range(first, len(speech)):
        inside_start = max(start, speech[index].start / SAMPLE_RATE)
        inside_end = min(end, speech[index].end / SAMPLE_RATE)
        if inside_end <= inside_start:
            break
        if stretches and inside_start - stretches[-1][1] < _PAUSE_SECONDS:
            inside_start = stretches.pop()[0]
        stretches.append((inside_start, inside_end))
    return max(stretches, key=lambda each: each[1] - each[0], default=(start, end))


def _reach(span: Span) -> float:
    return min(_REACH_SECONDS * SAMPLE_RATE, len(span) / 2)


def _runs_of_speech(
    probabilities: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First frame, and first frame after, of each run of speech, with hysteresis."""
    end_threshold = max(threshold - _HYSTERESIS, _LOWEST_END)
    # Every frame is speech, silence, or between the thresholds and then like the last clear one.
    clear = (probabilities >= threshold) | (probabilities < end_threshold)
    last_clear = np.maximum.accumulate(np.where(clear, np.arange(len(probabilities)), -1))
    speaks = (last_clear >= 0) & (probabilities[last_clear] >= threshold)
    edges = np.diff(np.r_[False, speaks, False].astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _samples(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE // 1000


def _framed(stretch: Samples, context: int) -> NDArray[np.float32]:
    """The stretch's frames, each with the end of the one before: float32[frames, 576].

    The first `context` samples are the end of the frame before the stretch; what is missing of it
    and of the last frame is silence.
    """
    frames = -(-(len(stretch) - context) // FRAME_SAMPLES)
    filled = np.zeros(CONTEXT_SAMPLES + frames * FRAME_SAMPLES, np.float32)
    begin = CONTEXT_SAMPLES - context
    filled[begin : begin + len(stretch)] = stretch
    windows = np.lib.stride_tricks.sliding_window_view(filled, CONTEXT_SAMPLES + FRAME_SAMPLES)
    return windows[::FRAME_SAMPLES].copy()
