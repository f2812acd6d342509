"""From an upload to windows of speech: decoded in another process, heard while it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from whisper_service.audio.arriving import ArrivingSamples
from whisper_service.audio.decode import DecodeLimits
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.audio.loudness import loud_spans
from whisper_service.audio.speech import SpeechDetector, spans_of_speech
from whisper_service.audio.windows import pack, split_quietly
from whisper_service.domain import SAMPLE_RATE, Samples, Span, SpeechOptions, Window, merged
from whisper_service.telemetry.record import Stage, stage


@dataclass(frozen=True, eq=False)
class Recording:
    """What was read of a file.

    duration: of the file, in seconds.
    windows: of its speech; without voice activity detection, of all of it.
    voiced: where somebody speaks, without the padding that the windows have.
    """

    duration: float
    windows: tuple[Window, ...]
    voiced: tuple[Span, ...] = ()

    @property
    def speech(self) -> Window:
        """All windows' speech as one window of any length, for the sequential way."""
        samples: Samples = np.concatenate([window.samples for window in self.windows])
        # Windows that were cut for length touch: there is no silence between them.
        return Window(samples, merged(span for window in self.windows for span in window.spans))


class RecordingReader:
    """Decodes uploads and finds their speech, a bounded number at a time, in order.

    Without voice activity detection all is decoded, and speech is looked for all the same, and all
    else that is loud: that tells whether a window's text left something out.
    """

    def __init__(self, limits: DecodeLimits, workers: int) -> None:
        self._limits = limits
        self._detector = SpeechDetector()
        self._decoder = IsolatedDecoder(workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._ears = ThreadPoolExecutor(workers, thread_name_prefix="hear")

    async def start(self) -> None:
        """Has the decoding processes and the network ready, else each is so once it is needed."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self._detector.load)
        await loop.run_in_executor(self._pool, self._decoder.start)

    async def read(self, upload: BinaryIO, speech: SpeechOptions | None) -> Recording:
        """The recording in `upload`.

        Cancelling it ends the decoding at once, and waits for that: the upload may be closed
        afterwards.

        Raises:
            ServiceError: see `audio.isolated.IsolatedDecoder.decode`.
        """
        cancelled = threading.Event()
        in_context = copy_context().run  # what is logged has the request's id
        work = self._pool.submit(in_context, self._read, upload, speech, cancelled.is_set)
        future = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            cancelled.set()
            if not work.cancel():  # it has begun
                await asyncio.wait([future])
                future.exception()  # it was told to fail
            raise

    def _read(
        self, upload: BinaryIO, speech: SpeechOptions | None, cancelled: Callable[[], bool]
    ) -> Recording:
        arriving = ArrivingSamples(self._limits.max_seconds)
        hearing = self._ears.submit(self._detector.hear, arriving.read, cancelled)
        with stage(Stage.DECODE):
            samples = self._decoder.decode(upload, self._limits, cancelled, arriving)
        duration = len(samples) / SAMPLE_RATE
        with stage(Stage.VAD):
            probabilities = hearing.result()
        bare = replace(speech or SpeechOptions(), prefix_padding_ms=0)
        voiced = spans_of_speech(probabilities, len(samples), bare)
        if speech is None:
            heard = merged([*voiced, *loud_spans(samples)])
            return Recording(duration, tuple(split_quietly(samples)), heard)
        padded = spans_of_speech(probabilities, len(samples), speech)
        return Recording(duration, tuple(pack(samples, padded)), voiced)

    def close(self) -> None:
        """Ends what is being read, and the decoding processes."""
        self._decoder.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._ears.shutdown(wait=False, cancel_futures=True)
