"""From decoded frames, whatever their layout and rate, to one channel at 16 kHz."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.filter import Graph

from whisper_service.domain import SAMPLE_RATE, Samples

# A resampler's tables grow with the ratio of the rates: a header that claims 2 GHz would have
# FFmpeg ask for gigabytes. No recorder is slower or faster than this.
LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # Hz

_BATCH_SAMPLES = SAMPLE_RATE // 2  # a coded frame may be as short as 2.5 ms: too little at a time


class Mixdown:
    """Mixes frames down to mono and resamples them, with FFmpeg's own resampler.

    Frames may change their format, layout and rate at any time. Not thread-safe.
    """

    def __init__(self) -> None:
        self._kind: tuple[str, str, int] | None = None  # format, layout and rate of the frames
        self._graph: Any = None
        self._mixes = True  # False: FFmpeg cannot mix this layout, the mean is taken before it
        self._interleaver: AudioResampler | None = None  # for the mean, where channels are planes
        self._waiting = 0.0  # samples that have been pushed since some were last pulled

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
            self._configure(*kind)
        frame.pts = None  # time is counted in samples; the file's own claims have no say
        self._graph.push(frame if self._mixes else self._plain_mean(frame))
        self._waiting += frame.samples / frame.sample_rate * SAMPLE_RATE
        if self._waiting >= _BATCH_SAMPLES:
            ready += self._pull()
        return ready

    def flush(self) -> list[Samples]:
        """What the resampler still holds; after it, frames may be pushed again."""
        if self._graph is None:
            return []
        self._graph.push(None)
        ready = self._pull()
        self._graph = self._kind = None
        return ready

    def _configure(self, sample_format: str, layout: str, rate: int) -> None:
        self._kind = (sample_format, layout, rate)
        try:
            self._graph = _graph(sample_format, layout, rate)
            self._mixes = True
        except av.FFmpegError:
            self._graph = _graph("fltp", "mono", rate)
            self._mixes = False
            # PyAV must not look at the planes itself: of frames of 8 channels and more it takes
            # for planes what lies behind their list (18.1), and reads anywhere in memory.
            planar = av.AudioFormat(sample_format).is_planar
            self._interleaver = AudioResampler("flt") if planar else None

    def _plain_mean(self, frame: av.AudioFrame) -> av.AudioFrame:
        """The mean of all channels, for layouts that FFmpeg has no mixing matrix for."""
        if self._interleaver is not None:
            (frame,) = self._interleaver.resample(frame)
        data = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
        mono = data.mean(axis=1, dtype=np.float64)
        if data.dtype == np.uint8:
            mono = (mono - 128) / 128
        elif np.issubdtype(data.dtype, np.signedinteger):
            mono /= -float(np.iinfo(data.dtype).min)
        mean = av.AudioFrame.from_ndarray(mono.astype(np.float32)[None], "fltp", "mono")
        mean.sample_rate = frame.sample_rate
        return mean

    def _pull(self) -> list[Samples]:
        self._waiting = 0.0
        ready: list[Samples] = []
        while True:
            try:
                ready.append(self._graph.pull().to_ndarray().reshape(-1))
            except (av.BlockingIOError, av.EOFError):
                return ready


def _graph(sample_format: str, layout: str, rate: int) -> Graph:
    graph = Graph()
    graph.threads = 1  # resampling has nothing to share, and threads would be started per upload
    source = graph.add(
        "abuffer",
        sample_rate=str(rate),
        sample_fmt=sample_format,
        channel_layout=layout,
        time_base=f"1/{rate}",
    )
    # Without this bound FFmpeg mixes stereo to float at 3 dB above what either channel has (and
    # 5.1 at 10 dB): loud recordings would be clipped.
    resample = graph.add("aresample", rematrix_maxval="1.0")
    target = graph.add(
        "aformat", sample_rates=str(SAMPLE_RATE), sample_fmts="flt", channel_layouts="mono"
    )
    batch = graph.add("asetnsamples", nb_out_samples=str(_BATCH_SAMPLES), pad="0")
    sink = graph.add("abuffersink")
    source.link_to(resample)
    resample.link_to(target)
    target.link_to(batch)
    batch.link_to(sink)
    graph.configure()
    return graph
