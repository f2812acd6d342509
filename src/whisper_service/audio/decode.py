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
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import av
import numpy as np

from whisper_service.audio.containers import FORMATS, first_frame, sniff
from whisper_service.audio.parts import find_parts
from whisper_service.audio.timeline import CLOCKED_CONTAINERS, Timeline
from whisper_service.audio.track_decoder import Meter, TrackDecoder
from whisper_service.audio.tracks import (
    audio_tracks,
    first_with_sound,
    select_only,
    start_of_others,
)
from whisper_service.audio.upload_reader import UploadReader, Watch
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.errors import Fault, ServiceError

logger = logging.getLogger(__name__)

MIN_SECONDS = 0.1  # OpenAI refuses anything shorter

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
) -> Generator[Samples, None, float | None]:
    """The audio of `upload` in order: float32[n] each, 16 kHz mono, in [-1, 1].

    Blocking. Of several audio tracks the first with sound is taken, those marked as the default
    before the others. What stands in the samples stands where the container's clock has it: silence
    fills the time for which no packet came. Channels are mixed down without clipping or cancelling
    one another, any sample rate is resampled, a damaged packet becomes silence of its length, what
    is not a number becomes 0. An error may come at any time: then the pieces before it do not
    count.

    Args:
        upload: untrusted bytes, seekable. Read from its beginning; its name is not looked at.
        limits: how much audio and how much time is allowed.
        cancelled: asked between packets and reads whether to give up.

    Returns:
        The second at which the file broke, where it did after good audio; else None.

    Raises:
        ServiceError: UNREADABLE_AUDIO, AUDIO_TOO_SHORT, AUDIO_TOO_LONG; or TIMED_OUT, when decoding
            took longer than `limits.timeout_seconds` or was cancelled.
    """
    watch = Watch(limits.timeout_seconds, cancelled)
    pieces = _pieces(upload, limits, watch)
    count = 0
    broken_at: float | None = None
    try:
        while True:
            piece = next(pieces)
            count += len(piece)
            yield piece
    except StopIteration as end:
        broken_at = end.value
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
    return broken_at


def _refuse(message: str, cause: Exception | None = None) -> NoReturn:
    raise ServiceError(Fault.UNREADABLE_AUDIO, message, "file") from cause


def _pieces(
    upload: BinaryIO, limits: DecodeLimits, watch: Watch
) -> Generator[Samples, None, float | None]:
    if upload.seek(0, io.SEEK_END) == 0:
        _refuse("The file is empty.")
    container_name = sniff(upload)
    if container_name is None:
        _refuse(f"The file is in no audio format that is known here. {_ACCEPTED}")
    parts = find_parts(upload, container_name, first_frame(upload, container_name), watch)
    meter = Meter(limits.max_seconds)
    broken_at: float | None = None
    failures: list[Exception] = []
    for part in parts:
        try:
            broke = yield from _part(upload, part, container_name, meter, watch)
        except (av.FFmpegError, ValueError, ServiceError) as error:
            watch.check()
            if isinstance(error, ServiceError) and error.fault is not Fault.UNREADABLE_AUDIO:
                raise
            failures.append(error)
            broke = meter.seconds
        broken_at = broke if broken_at is None else broken_at
    if len(failures) == len(parts):
        raise failures[0]
    if len(parts) > 1:
        logger.info("an upload consists of %d files", len(parts))
    if broken_at is not None:
        logger.warning("an upload broke at %.2f s of its audio", broken_at)
    return broken_at


def _part(
    upload: BinaryIO, part: range, container_name: str, meter: Meter, watch: Watch
) -> Generator[Samples, None, float | None]:
    """The samples of one of the files that an upload consists of, and where that broke."""
    place = 0
    with _open(UploadReader(upload, watch, part), container_name, watch) as container:
        tracks = _tracks(container)
        if len(tracks) == 1:
            return (yield from _track(container, tracks[0], container_name, meter, watch))
        place = first_with_sound(container, tracks, watch, meter.seconds_left)
        logger.info(
            "of an upload's %d audio tracks, %s was taken: the first with sound",
            len(tracks),
            f"stream {tracks[place].index}",
        )
    with _open(UploadReader(upload, watch, part), container_name, watch) as container:
        track = _tracks(container)[place]
        return (yield from _track(container, track, container_name, meter, watch))


def _track(
    container: Any, track: Any, container_name: str, meter: Meter, watch: Watch
) -> Generator[Samples, None, float | None]:
    select_only(container, [track])
    timeline = None
    if container_name in CLOCKED_CONTAINERS:
        timeline = Timeline(start_of_others(container, track))
    decoder = TrackDecoder(track, timeline, meter, watch)
    yield from decoder.pieces(container)
    if decoder.is_noise:
        _refuse(f"The file's audio is empty or too damaged to be read. {_ACCEPTED}")
    return decoder.broken_at


def _tracks(container: Any) -> list[Any]:
    if not container.streams.audio:
        _refuse(f"The file has no audio track. {_ACCEPTED}")
    tracks = audio_tracks(container, _DECODERS)
    if not tracks:
        _refuse(f"The file's audio track has a codec that is not supported. {_ACCEPTED}")
    return tracks


def _open(reader: UploadReader, container_name: str, watch: Watch) -> Any:
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
