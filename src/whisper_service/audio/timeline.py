"""Where a file's audio stands on its container's clock, and how much silence that asks for.

Packets that never came (a paused recorder, discontinuous transmission, a lossy network) leave no
samples, only a jump of the clock. A player waits there, so silence has to stand there, or all that
follows is early. But a clock may be wrong, and then only the samples can be believed.
"""

from __future__ import annotations

from whisper_service.audio.packet_times import RESTART_SECONDS

# Containers whose times were written by who recorded. FFmpeg makes up those of the others (mp3,
# aac, flac, wav) by counting samples.
CLOCKED_CONTAINERS = frozenset({"matroska", "mov", "mpeg", "ogg"})

LONGEST_GAP_SECONDS = 1800.0  # a longer one is taken for a wrong clock,
MOST_SILENCE_SECONDS = 3600.0  # and so is every further one after so much in sum

# Clocks are coarse (a millisecond in Matroska) and recorders stamp packets when they come.
_JITTER_SECONDS = 0.03
_LARGEST_PRIMING_SECONDS = 1.0  # a track may begin so long before 0: what codecs add in front


class Timeline:
    """The times of one audio track's frames, in order. All times are in seconds."""

    def __init__(self, container_start: float | None) -> None:
        """`container_start`: when the first of the other tracks begins; None: there is none."""
        self._container_start = container_start
        self._expected: float | None = None  # when the next frame is due, on the track's clock
        self._untimed = 0.0  # of audio before the first frame that has a time
        self._silence = 0.0

    def silence_before(self, time: float | None, seconds: float) -> float:
        """How much silence belongs before the next frame.

        Args:
            time: of the frame on the container's clock; None: it has none, and follows the last.
            seconds: that the frame lasts.
        """
        if time is None:
            self.advance(seconds)
            return 0.0
        if self._expected is None:
            self._expected = self._beginning(time - self._untimed) + self._untimed
        gap = time - self._expected
        if gap > _JITTER_SECONDS or gap < -RESTART_SECONDS:
            self._expected = time
        self._expected += seconds
        fits = gap <= LONGEST_GAP_SECONDS and self._silence + gap <= MOST_SILENCE_SECONDS
        if gap <= _JITTER_SECONDS or not fits:
            return 0.0
        self._silence += gap
        return gap

    def advance(self, seconds: float) -> None:
        """Something that has no time of its own lasts so long."""
        if self._expected is None:
            self._untimed += seconds
        else:
            self._expected += seconds

    def _beginning(self, first: float) -> float:
        """The time at which a player begins, if the audio begins at `first`."""
        if self._container_start is None or self._container_start < -_LARGEST_PRIMING_SECONDS:
            return first
        return min(first, max(self._container_start, 0.0))
