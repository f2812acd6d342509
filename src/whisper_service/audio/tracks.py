"""Which of a file's audio tracks is transcribed."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import av
import numpy as np
from av.stream import Discard, Disposition

from whisper_service.audio.mixdown import Mixdown
from whisper_service.audio.upload_reader import Watch
from whisper_service.domain import SAMPLE_RATE, Samples

logger = logging.getLogger(__name__)

MAX_READ_ERRORS = 100  # places at which a container may be broken and still go on

_MOST_TRACKS = 32  # that are listened to
_LONGEST_FRAME_SECONDS = 60.0  # a longer one is not worth its memory
_BLOCK_SAMPLES = SAMPLE_RATE // 50  # 20 ms
_LOUDEST_BLOCKS = 5  # 100 ms have to be so loud: a click is no sound
_SURE_LEVEL = 0.01  # RMS, -40 dBFS: nobody would call that silent
_LEAST_LEVEL = 0.0005  # -66 dBFS: what a muted track may have of noise
_RELATIVE_LEVEL = 0.03  # -30 dB: a track that is so far below the loudest is silent


def audio_tracks(container: Any, decoders: tuple[str, ...]) -> list[Any]:
    """The audio streams that can be decoded: those marked as the default first, in their order."""
    usable = [
        stream
        for stream in container.streams.audio
        if stream.codec_context is not None and stream.codec_context.name in decoders
    ]
    return sorted(usable, key=lambda stream: not stream.disposition & Disposition.default)


def select_only(container: Any, wanted: list[Any]) -> None:
    """From here on the packets of all other streams are dropped unread."""
    indexes = {stream.index for stream in wanted}
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in indexes else Discard.all


def start_of_others(container: Any, track: Any) -> float | None:
    """When the first of the other audio and video streams begins, in seconds; None: unknown."""
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.index != track.index
        and stream.start_time is not None
        and not stream.disposition & Disposition.attached_pic
    ]
    return min(starts, default=None)


def first_with_sound(container: Any, tracks: list[Any], watch: Watch, max_seconds: float) -> int:
    """The place in `tracks` of the first one that has sound; 0 where none has.

    Reads the container until the first track is known to have sound: with most files a moment, with
    a silent first track all of it, but no more than `max_seconds`. Keeps no samples.

    Raises:
        ServiceError: TIMED_OUT.
    """
    tracks = tracks[:_MOST_TRACKS]
    select_only(container, tracks)
    meters = {stream.index: _LevelMeter(stream) for stream in tracks}
    first = meters[tracks[0].index]
    for packet in Packets(container, tracks):
        watch.check()
        meters[packet.stream.index].listen(packet)
        if first.is_loud or first.seconds > max_seconds:
            break
    levels = [meter.finish() for meter in meters.values()]
    needed = max(_LEAST_LEVEL, _RELATIVE_LEVEL * max(levels))
    return next((place for place, level in enumerate(levels) if level >= needed), 0)


class Packets:
    """The packets of some streams, also those behind a place at which the container is broken."""

    def __init__(self, container: Any, streams: list[Any]) -> None:
        self._container = container
        self._streams = streams
        self.broken = False  # whether nothing more could be read behind such a place

    def __iter__(self) -> Iterator[Any]:
        for _ in range(MAX_READ_ERRORS):
            try:
                for packet in self._container.demux(self._streams):
                    if packet.size:  # an empty packet would tell the decoder that this was the end
                        self.broken = False
                        yield packet
            except av.FFmpegError as error:
                logger.debug("went on behind a broken place: %r", error)
                self.broken = True
            else:
                return


class _LevelMeter:
    """How loud a track gets, for at least a tenth of a second in sum."""

    def __init__(self, stream: Any) -> None:
        self._codec = stream.codec_context
        self._codec.thread_count = 1
        self._mixdown = Mixdown()
        self._loudest = [0.0] * _LOUDEST_BLOCKS  # RMS of blocks, a heap
        self.seconds = 0.0  # that were heard

    @property
    def is_loud(self) -> bool:
        return self._loudest[0] >= _SURE_LEVEL

    def listen(self, packet: Any) -> None:
        if self.is_loud:
            return
        try:
            for frame in self._codec.decode(packet):
                seconds = frame.samples / max(frame.sample_rate, 1)
                self.seconds += seconds
                if seconds <= _LONGEST_FRAME_SECONDS:
                    self._measure(self._mixdown.push(frame))
        except (av.FFmpegError, ValueError):
            return  # a damaged packet is no sound

    def finish(self) -> float:
        """The track's level: RMS, 1 is full scale."""
        self._measure(self._mixdown.flush())
        return self._loudest[0]

    def _measure(self, pieces: Iterable[Samples]) -> None:
        for samples in pieces:
            blocks = len(samples) // _BLOCK_SAMPLES
            shaped = samples[: blocks * _BLOCK_SAMPLES].reshape(blocks, _BLOCK_SAMPLES)
            finite = np.nan_to_num(shaped, posinf=0.0, neginf=0.0)
            for power in np.square(finite, dtype=np.float64).mean(axis=1):
                heapq.heappushpop(self._loudest, float(power) ** 0.5)
