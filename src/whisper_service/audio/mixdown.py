"""From decoded frames, whatever their layout and rate, to one channel at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from whisper_service.audio.downmix import Downmix
from whisper_service.domain import SAMPLE_RATE, Samples

# A resampler's tables grow with the ratio of the rates: a header that claims 2 GHz would have
# FFmpeg ask for gigabytes. No recorder is slower or faster than this.
LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # Hz

_MOST_CONVERTED = 64  # channels; libswresample's SWR_CH_MAX
_BATCH_SECONDS = 0.5  # a coded frame may be as short as 2.5 ms: too little at a time


class Mixdown:
    """Mixes frames down to mono and resamples them, with FFmpeg's own resampler.

    Frames may change their format, layout and rate at any time. Not thread-safe.
    """

    def __init__(self) -> None:
        self._kind: tuple[str, str, int] | None = None  # format, layout and rate of the frames
        self._channels: _Channels | None = None  # None: there is only one
        self._resampler: _Filters
        self._waiting = 0.0  # seconds that have been pushed since some were last pulled

    def push(self, frame: av.AudioFrame) -> list[Samples]:
        """The samples that have become ready, float32[n] each at 16 kHz; often none yet.

        Raises:
            ValueError: the frame's sample rate is absurd.
            av.FFmpegError: FFmpeg cannot resample it.
        """
        if not LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE:
            raise ValueError(f"audio of {frame.sample_rate} Hz")
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        ready: list[Samples] = []
        if kind != self._kind:
            ready = self.flush()
            self._configure(*kind, frame.layout.nb_channels)
        frame.pts = None  # `audio.timeline` knows the time; here samples are counted
        (self._channels or self._resampler).push(frame)
        self._waiting += frame.samples / frame.sample_rate
        if self._waiting >= _BATCH_SECONDS:
            ready += self._pull()
        return ready

    def flush(self) -> list[Samples]:
        """What the filters still hold; after it, frames may be pushed again."""
        if self._kind is None:
            return []
        if self._channels is not None:
            self._channels.push(None)
            self._resample(self._channels.pull())
        self._resampler.push(None)
        self._kind = None
        return self._pull_resampled()

    def _configure(self, sample_format: str, layout: str, rate: int, channels: int) -> None:
        if channels == 1:
            self._channels = None
            self._resampler = _to_mono_16_khz(sample_format, layout, rate)
        else:
            self._channels = _Channels(sample_format, layout, rate, channels)
            self._resampler = _to_mono_16_khz("flt", "mono", rate)
        self._kind = (sample_format, layout, rate)

    def _pull(self) -> list[Samples]:
        self._waiting = 0.0
        if self._channels is not None:
            self._resample(self._channels.pull())
        return self._pull_resampled()

    def _resample(self, frames: Iterable[av.AudioFrame]) -> None:
        for frame in frames:
            self._resampler.push(frame)

    def _pull_resampled(self) -> list[Samples]:
        return [frame.to_ndarray().reshape(-1) for frame in self._resampler.pull()]


class _Filters:
    """A chain of FFmpeg's filters, each a name and its options."""

    def __init__(
        self, sample_format: str, layout: str, rate: int, *filters: tuple[str, dict[str, str]]
    ) -> None:
        self._graph = Graph()
        # Filters have nothing to share, and threads would be started for each upload.
        self._graph.threads = 1
        last = self._graph.add(
            "abuffer",
            sample_rate=str(rate),
            sample_fmt=sample_format,
            channel_layout=layout,
            time_base=f"1/{rate}",
        )
        for name, options in (*filters, ("abuffersink", {})):
            following = self._graph.add(name, **options)
            last.link_to(following)
            last = following
        self._graph.configure()

    def push(self, frame: av.AudioFrame | None) -> None:
        """None: there are no more."""
        self._graph.push(frame)

    def pull(self) -> Iterator[av.AudioFrame]:
        while True:
            try:
                yield self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return


class _Channels:
    """Frames of several channels as frames of one, at the rate that they have."""

    def __init__(self, sample_format: str, layout: str, rate: int, channels: int) -> None:
        self._interleaved = _interleaved(sample_format, layout, rate, channels)
        self._rate = rate
        self._count = channels
        self._downmix = Downmix(_weights(layout, channels))

    def push(self, frame: av.AudioFrame | None) -> None:
        self._interleaved.push(frame)

    def pull(self) -> Iterator[av.AudioFrame]:
        for frame in self._interleaved.pull():
            mixed = self._downmix(_as_float(frame.to_ndarray()).reshape(-1, self._count))
            mono = av.AudioFrame.from_ndarray(mixed[None], "flt", "mono")
            mono.sample_rate = self._rate
            yield mono


class _Queue:
    """Frames as they are."""

    def __init__(self) -> None:
        self._frames: list[av.AudioFrame] = []

    def push(self, frame: av.AudioFrame | None) -> None:
        self._frames += [] if frame is None else [frame]

    def pull(self) -> Iterator[av.AudioFrame]:
        while self._frames:
            yield self._frames.pop(0)


def _interleaved(sample_format: str, layout: str, rate: int, channels: int) -> _Filters | _Queue:
    """Makes frames interleaved ones of half a second.

    FFmpeg does it: of frames of 8 planes and more PyAV takes for planes what lies behind their list
    (18.1), and reads anywhere in memory. FFmpeg has no more than 64 channels; there frames have to
    be interleaved already.
    """
    if channels > _MOST_CONVERTED and av.AudioFormat(sample_format).is_packed:
        return _Queue()
    batches = _batches(round(rate * _BATCH_SECONDS))
    return _Filters(sample_format, layout, rate, ("aformat", {"sample_fmts": "flt"}), batches)


def _as_float(data: NDArray[Any]) -> NDArray[np.float32]:
    """Samples of any type as float32 in [-1, 1]."""
    if data.dtype == np.uint8:
        return ((data / 128) - 1).astype(np.float32)
    if np.issubdtype(data.dtype, np.signedinteger):
        return (data / -float(np.iinfo(data.dtype).min)).astype(np.float32)
    return data.astype(np.float32, copy=False)


def _to_mono_16_khz(sample_format: str, layout: str, rate: int) -> _Filters:
    return _Filters(
        sample_format,
        layout,
        rate,
        ("aresample", {}),
        (
            "aformat",
            {"sample_rates": str(SAMPLE_RATE), "sample_fmts": "flt", "channel_layouts": "mono"},
        ),
        _batches(round(SAMPLE_RATE * _BATCH_SECONDS)),
    )


def _batches(samples: int) -> tuple[str, dict[str, str]]:
    return "asetnsamples", {"nb_out_samples": str(samples), "pad": "0"}


@lru_cache(maxsize=64)
def _weights(layout: str, channels: int) -> NDArray[np.float32]:
    """What FFmpeg's mixing matrix takes of each channel; of all the same where it has none.

    float32[channels], not negative, with a sum of 1 at most: otherwise FFmpeg would mix stereo to
    float at 3 dB above what either channel has (and 5.1 at 10 dB), and loud recordings would be
    clipped.
    """
    try:
        mixer = _Filters(
            "flt",
            layout,
            SAMPLE_RATE,
            ("aresample", {"rematrix_maxval": "1.0"}),
            ("aformat", {"sample_fmts": "flt", "channel_layouts": "mono"}),
        )
    except av.FFmpegError:
        return np.full(channels, 1 / channels, np.float32)
    # A sample for each channel, of that channel alone.
    ones = np.eye(channels, dtype=np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(ones, "flt", layout)
    frame.sample_rate = SAMPLE_RATE
    mixer.push(frame)
    mixer.push(None)
    (mixed,) = mixer.pull()
    weights: NDArray[np.float32] = mixed.to_ndarray().reshape(-1)
    return weights
