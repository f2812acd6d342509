"""From the bytes of an upload to samples.

The bytes are a stranger's. FFmpeg gets them through a reader of ours that knows no other file and
no network, as the one container that their signature says, with no decoders but those for audio;
and it is stopped when there is more audio, or when it takes longer, than is allowed.

What FFmpeg itself may do wrong, `audio.isolated` keeps away from the service: there this module
runs in a process of its own, which is why it imports so little.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import av
import numpy as np
from av.stream import Discard

from whisper_service.audio.containers import FORMATS, sniff
from whisper_service.audio.mixdown import Mixdown
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.errors import Fault, ServiceError

logger = logging.getLogger(__name__)

MIN_SECONDS = 0.1  # OpenAI refuses anything shorter

_LONGEST_GAP_SECONDS = 1.0  # what one damaged packet may claim to have lasted
_MAX_READ_ERRORS = 100  # places at which a container may be broken and still go on

# The decoders that the accepted containers need. Nothing else is ever opened, so that no picture
# or video decoder sees the upload, not even while FFmpeg finds out which streams there are.
_DECODERS = (
    *("aac", "aac_latm", "ac3", "alac", "amrnb", "amrwb", "dca", "eac3", "flac", "libopus"),
    *("mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "opus", "speex", "vorbis"),
    *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "gsm", "gsm_ms", "pcm_alaw", "pcm_mulaw"),
    *("pcm_bluray", "pcm_dvd", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_s16be"),
    *("pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_s8", "pcm_u8"),
)
_ACCEPTED = f"Supported formats: {', '.join(FORMATS)}."


@dataclass(frozen=True)
class DecodeLimits:
    """What one upload may cost."""

    max_seconds: float  # of decoded audio, counted while decoding: headers lie
    timeout_seconds: float  # of wall-clock time


def decode(
    upload: BinaryIO, limits: DecodeLimits, cancelled: Callable[[], bool] = lambda: False
) -> Samples:
    """The audio of `upload` at once, decoded in this process: for files that are known.

    Arguments and errors as of `decode_pieces`.
    """
    return np.concatenate([*decode_pieces(upload, limits, cancelled)])


def decode_pieces(
    upload: BinaryIO, limits: DecodeLimits, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Samples]:
    """The audio of `upload` in order: float32[n] each, 16 kHz mono, in [-1, 1].

    Blocking. Of several audio tracks the main one is taken. Channels are mixed down without
    clipping, any sample rate is resampled, a damaged packet becomes silence of its length, what is
    not a number becomes 0. An error may come at any time: then the pieces before it do not count.

    Args:
        upload: untrusted bytes, seekable. Read from its beginning; its name is not looked at.
        limits: how much audio and how much time is allowed.
        cancelled: asked between packets and reads whether to give up.

    Raises:
        ServiceError: UNREADABLE_AUDIO, AUDIO_TOO_SHORT, AUDIO_TOO_LONG; or TIMED_OUT, when decoding
            took longer than `limits.timeout_seconds` or was cancelled.
    """
    watch = _Watch(limits.timeout_seconds, cancelled)
    count = 0
    try:
        for piece in _pieces(upload, limits, watch):
            count += len(piece)
            yield piece
    except ServiceError:
        raise
    except Exception as error:
        watch.check()  # FFmpeg may be complaining because we stopped it
        logger.debug("refused an upload", exc_info=True)
        _refuse(f"The file is not audio that can be read. {_ACCEPTED}", error)
    seconds = count / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise ServiceError(
            Fault.AUDIO_TOO_SHORT,
            f"The audio lasts {seconds:.2f} s; it has to last at least {MIN_SECONDS} s.",
            "file",
        )


def took_too_long(timeout_seconds: float) -> ServiceError:
    message = f"Decoding the file took longer than {timeout_seconds:g} s."
    return ServiceError(Fault.TIMED_OUT, message, "file")


def was_cancelled() -> ServiceError:
    return ServiceError(Fault.TIMED_OUT, "The request was cancelled.")


def _refuse(message: str, cause: Exception | None = None) -> NoReturn:
    raise ServiceError(Fault.UNREADABLE_AUDIO, message, "file") from cause


def _pieces(upload: BinaryIO, limits: DecodeLimits, watch: _Watch) -> Iterator[Samples]:
    if upload.seek(0, io.SEEK_END) == 0:
        _refuse("The file is empty.")
    container_name = sniff(upload)
    upload.seek(0)
    if container_name is None:
        _refuse(f"The file is in no audio format that is known here. {_ACCEPTED}")
    with _open(_Reader(upload, watch), container_name, watch) as container:
        yield from _decode_stream(container, _only_audio_stream(container), limits, watch)


def _open(reader: _Reader, container_name: str, watch: _Watch) -> Any:
    return av.open(
        reader,
        format=container_name,
        options={
            "format_whitelist": container_name,  # a container must not bring in another one,
            "protocol_whitelist": "",  # nor name a file or an address to go on with
            "codec_whitelist": ",".join(_DECODERS),
        },
        io_open=_no_other_file,
        timeout=watch.seconds_left,
        metadata_errors="replace",  # a title in Latin-1 is no reason to refuse a recording
        buffer_size=64 * 1024,
    )


def _no_other_file(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"an upload asked for {url!r} ({flags=}, {options=})")


def _only_audio_stream(container: Any) -> Any:
    """The main audio stream; the packets of all others are dropped unread from here on."""
    stream = container.streams.best("audio")
    if stream is None:
        _refuse(f"The file has no audio track. {_ACCEPTED}")
    if stream.codec_context is None or stream.codec_context.name not in _DECODERS:
        _refuse(f"The file's audio track has a codec that is not supported. {_ACCEPTED}")
    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all
    return stream


def _decode_stream(
    container: Any, stream: Any, limits: DecodeLimits, watch: _Watch
) -> Iterator[Samples]:
    codec, mixdown, meter = stream.codec_context, Mixdown(), _Meter(limits.max_seconds)
    codec.thread_count = 1  # uploads are decoded beside one another; threads each would not pay
    good = damaged = 0
    for packet in _packets(container, stream):
        watch.check()
        try:
            frames = codec.decode(packet)
        except av.FFmpegError:
            damaged += 1
            yield from meter.passed([*mixdown.flush(), _gap(packet)])
            continue
        good += 1
        for frame in frames:
            meter.check_room_for(frame)
            yield from meter.passed(mixdown.push(frame))
    watch.check()
    for frame in _held_back(codec):
        yield from meter.passed(mixdown.push(frame))
    yield from meter.passed(mixdown.flush())
    if damaged > good or not meter.count:
        _refuse(f"The file's audio is empty or too damaged to be read. {_ACCEPTED}")
    if damaged:
        logger.info("%d of an upload's %d packets were damaged", damaged, good + damaged)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets, also those behind a place at which the container is broken."""
    for _ in range(_MAX_READ_ERRORS):
        try:
            for packet in container.demux(stream):
                if packet.size:  # an empty packet would tell the decoder that this was the end
                    yield packet
        except av.FFmpegError as error:
            logger.debug("went on behind a broken place: %r", error)
        else:
            return


def _held_back(codec: Any) -> list[Any]:
    """The frames that a decoder gives out only when it is told that there are no more packets."""
    try:
        return list(codec.decode(None))
    except av.FFmpegError:  # the last packet was cut off: there is nothing to give out
        return []


def _gap(packet: Any) -> Samples:
    """Silence as long as `packet` should have lasted, so that what follows keeps its time."""
    seconds = float((packet.duration or 0) * (packet.time_base or 0))
    return np.zeros(round(min(max(seconds, 0), _LONGEST_GAP_SECONDS) * SAMPLE_RATE), np.float32)


class _Watch:
    """Knows when to stop: the time is up, or nobody wants the result any more."""

    def __init__(self, timeout_seconds: float, cancelled: Callable[[], bool]) -> None:
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._cancelled = cancelled

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    @property
    def stopped(self) -> bool:
        return self._cancelled() or self.seconds_left == 0

    def check(self) -> None:
        if self._cancelled():
            raise was_cancelled()
        if self.seconds_left == 0:
            raise took_too_long(self._timeout_seconds)


class _Reader:
    """What FFmpeg reads the upload through.

    It has no name by which a demuxer could judge the format. When it is time to stop it says "end
    of file" instead of raising: PyAV prints what is raised below FFmpeg to standard error when
    FFmpeg does not give up at once.
    """

    def __init__(self, upload: BinaryIO, watch: _Watch) -> None:
        self._upload = upload
        self._watch = watch

    def read(self, size: int) -> bytes:
        if self._watch.stopped:
            return b""
        return self._upload.read(size)[:size]  # PyAV copies all of it into a buffer of `size`

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._watch.stopped or (whence == io.SEEK_SET and offset < 0):
            return -1
        return self._upload.seek(offset, whence)

    def tell(self) -> int:
        return self._upload.tell()


class _Meter:
    """Counts the decoded samples, and lets none pass that is more than allowed or no sample."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._max_samples = int(max_seconds * SAMPLE_RATE)
        self.count = 0

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
