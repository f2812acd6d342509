"""One audio track of an open container, from packets to samples with silence where it belongs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import av
import numpy as np

from whisper_service.audio.mixdown import Mixdown
from whisper_service.audio.packet_times import PacketTimes
from whisper_service.audio.timeline import Timeline
from whisper_service.audio.tracks import Packets
from whisper_service.audio.upload_reader import Watch
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.errors import Fault, ServiceError

logger = logging.getLogger(__name__)

_LONGEST_DAMAGE_SECONDS = 1.0  # what one damaged packet may claim to have lasted
_GOOD_SECONDS = 1.0  # so much sound audio at the beginning is no noise, whatever follows
_GIVEN_UP_SECONDS = 0.5  # of damage at the end: less is a packet that was cut off, or a tag
_GIVEN_UP_PACKETS = 25  # the same, where packets do not say how long they are
_SILENCE_SAMPLES = 10 * SAMPLE_RATE  # that are made at once


class Meter:
    """Counts the decoded samples, and lets none pass that is more than allowed or no sample."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._max_samples = int(max_seconds * SAMPLE_RATE)
        self.count = 0

    @property
    def seconds(self) -> float:
        return self.count / SAMPLE_RATE

    @property
    def seconds_left(self) -> float:
        return (self._max_samples - self.count) / SAMPLE_RATE

    def check_room_for(self, frame: Any) -> None:
        """Refuses a frame before it is resampled: a single one can hold hours at a low rate."""
        self._check(int(frame.samples / max(frame.sample_rate, 1) * SAMPLE_RATE))

    def passed(self, pieces: Iterable[Samples]) -> Iterator[Samples]:
        """The pieces, with what is no number made 0 and what is too loud cut off, in place."""
        for piece in pieces:
            self._check(len(piece))
            self.count += len(piece)
            np.nan_to_num(piece, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            yield np.clip(piece, -1.0, 1.0, out=piece)

    def _check(self, count: int) -> None:
        if self.count + count > self._max_samples:
            message = f"The audio is longer than {self._max_seconds:g} s."
            raise ServiceError(Fault.AUDIO_TOO_LONG, message, "file")


class TrackDecoder:
    """Decodes a track once, and knows afterwards how sound it was."""

    def __init__(self, track: Any, timeline: Timeline | None, meter: Meter, watch: Watch) -> None:
        """`timeline`: of the container's clock; None: it has none, and samples are counted."""
        self._track = track
        self._timeline = timeline
        self._meter = meter
        self._watch = watch
        self._tick_seconds = float(track.time_base or 0)
        self._mixdown = Mixdown()
        self._before = meter.count  # samples of the parts before this one
        self._position = 0.0  # seconds of this part that were decoded
        self._good = self._damaged = 0  # packets
        self._first_damage: float | None = None  # where it is, in seconds
        self._lost_seconds, self._lost_packets = 0.0, 0  # since the last good packet
        self._container_broke = False

    def pieces(self, container: Any) -> Iterator[Samples]:
        """float32[n] each, 16 kHz mono, in [-1, 1]. A damaged packet is silence of its length.

        Raises:
            ServiceError: AUDIO_TOO_LONG, TIMED_OUT.
        """
        try:
            yield from self._pieces(container)
        except (av.FFmpegError, ValueError):  # of the filters: an absurd sample rate, say
            logger.debug("an upload cannot be mixed down", exc_info=True)
            self._container_broke = True

    def _pieces(self, container: Any) -> Iterator[Samples]:
        codec = self._track.codec_context
        codec.thread_count = 1  # uploads are decoded beside one another; threads would not pay
        packets = Packets(container, [self._track])
        for packet in self._with_times(packets):
            self._watch.check()
            try:
                frames = codec.decode(packet)
            except av.FFmpegError:
                self._lose(packet)
                continue
            self._good += 1
            for frame in frames:
                yield from self._decoded(frame)
        self._watch.check()
        for frame in _held_back(codec):
            yield from self._decoded(frame)
        yield from self._meter.passed(self._mixdown.flush())
        self._container_broke = packets.broken
        if self._damaged:
            count = self._good + self._damaged
            logger.info("%d of an upload's %d packets were damaged", self._damaged, count)

    def _with_times(self, packets: Iterable[Any]) -> Iterable[Any]:
        return packets if self._timeline is None else PacketTimes(packets, self._tick_seconds)

    @property
    def is_noise(self) -> bool:
        """Whether there is nothing in it, or more damage than can be believed."""
        between = self._damaged - self._lost_packets
        good_beginning = self._first_damage is None or self._first_damage >= _GOOD_SECONDS
        return self._meter.count == self._before or (between > self._good and not good_beginning)

    @property
    def broken_at(self) -> float | None:
        """The second of the file at which the track broke off; None: it came to its end."""
        gave_up = self._lost_seconds >= _GIVEN_UP_SECONDS or self._lost_packets >= _GIVEN_UP_PACKETS
        if self._container_broke or gave_up:
            return self._before / SAMPLE_RATE + self._position
        if self._first_damage is not None and self._damaged > self._good:
            return self._before / SAMPLE_RATE + self._first_damage
        return None

    def _decoded(self, frame: Any) -> Iterator[Samples]:
        self._meter.check_room_for(frame)
        seconds = frame.samples / max(frame.sample_rate, 1)
        silence = self._silence_before(frame, seconds)
        if silence > 0:
            yield from self._pad(silence)
        yield from self._meter.passed(self._mixdown.push(frame))
        self._position += seconds

    def _silence_before(self, frame: Any, seconds: float) -> float:
        lost, self._lost_seconds, self._lost_packets = self._lost_seconds, 0.0, 0
        if self._timeline is None:
            return lost
        self._timeline.advance(lost)
        # Frames have their packets' unit of time, and begin behind what the decoder cut off.
        time = None if frame.pts is None else frame.pts * self._tick_seconds
        gap = self._timeline.silence_before(time, seconds)
        # A gap that does not fit is a wrong clock rather than a recording that is too long.
        return lost + (gap if lost + gap + seconds <= self._meter.seconds_left else 0.0)

    def _pad(self, seconds: float) -> Iterator[Samples]:
        yield from self._meter.passed(self._mixdown.flush())
        self._position += seconds
        # Counted from the part's beginning, so that no rounding adds up.
        end = self._before + round(self._position * SAMPLE_RATE)
        while (missing := end - self._meter.count) > 0:
            yield from self._meter.passed([np.zeros(min(missing, _SILENCE_SAMPLES), np.float32)])
            self._watch.check()

    def _lose(self, packet: Any) -> None:
        if self._first_damage is None:
            self._first_damage = self._position
        self._damaged += 1
        self._lost_packets += 1
        seconds = float((packet.duration or 0) * (packet.time_base or 0))
        self._lost_seconds += min(max(seconds, 0.0), _LONGEST_DAMAGE_SECONDS)


def _held_back(codec: Any) -> list[Any]:
    """The frames that a decoder gives out only when it is told that there are no more packets."""
    try:
        return list(codec.decode(None))
    except av.FFmpegError:  # the last packet was cut off: there is nothing to give out
        return []
