"""What an upload may want beside its own bytes: files, addresses, memory. It gets nothing.

Each of these did harm with FFmpeg's defaults. They go through the whole decoder here, with its
process; `test_decode.py` has them without, so that neither protection hides a hole in the other.
"""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from whisper_service.audio.decode import DecodeLimits
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.domain import SAMPLE_RATE
from whisper_service.errors import Fault, ServiceError

from .lures import DEMUXERS, Upload, elsewhere

TRUSTING = str(Path(__file__).parent / "trusting_process.py")
MB = 1_000_000


@pytest.fixture
def decoder_of(canary) -> Iterator:
    """Makes decoders whose processes have the canary in their working directory."""
    made = []

    def make(*command: str) -> IsolatedDecoder:
        made.append(IsolatedDecoder(1, command) if command else IsolatedDecoder(1))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


@pytest.mark.parametrize("kind", DEMUXERS)
@pytest.mark.parametrize("how", ["as it is", "credulous", "careless"])
def test_an_upload_reaches_no_other_file_and_no_network(kind, how, listener, canary, decoder_of):
    """Neither as it is, nor if these containers were let in, nor with FFmpeg's own defaults."""
    decoder = decoder_of() if how == "as it is" else decoder_of(TRUSTING, how, DEMUXERS[kind])
    data = elsewhere(listener.getsockname()[1], canary.path)[kind]
    with pytest.raises(ServiceError) as caught:
        decoder.decode(Upload(data), DecodeLimits(max_seconds=60, timeout_seconds=30))
    assert caught.value.fault is Fault.UNREADABLE_AUDIO  # and not TIMED_OUT
    assert not canary.touched
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_the_canary_notices_when_it_is_opened(canary):
    with av.open(io.BytesIO(b"ffconcat version 1.0\nfile canary.wav\n"), format="concat") as script:
        assert script.streams.audio
    assert canary.touched


def test_the_listener_notices_when_it_is_called(listener, canary):
    playlist = elsewhere(listener.getsockname()[1], canary.path)[
        "an HLS playlist that names an address"
    ]
    with pytest.raises(av.FFmpegError):
        av.open(Upload(playlist), timeout=(0.5, 0.5))
    caller, _ = listener.accept()
    caller.close()


def an_hour_of_silence(encode) -> bytes:
    """Opus at its lowest bit rate: one packet of 20 ms, 180,000 times."""
    second = encode(np.zeros(48_000), container="ogg", codec="libopus", rate=48_000)
    file = io.BytesIO()
    with av.open(io.BytesIO(second)) as source, av.open(file, "w", format="ogg") as target:
        silence = target.add_stream_from_template(source.streams.audio[0])
        packet = next(packet for packet in source.demux() if packet.size)
        packet.stream = silence
        for number in range(3600 * 50):
            packet.pts = packet.dts = number * 960
            target.mux(packet)
    return file.getvalue()


def test_hours_of_silence_in_a_megabyte_cost_no_more_than_what_is_allowed(encode, decoder_of):
    upload = an_hour_of_silence(encode)
    assert len(upload) < 3 * MB
    decoder = decoder_of()
    decoder.start()
    (worker,) = decoder._workers
    before = peak_of(worker._process.pid), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ServiceError) as caught:
        decoder.decode(io.BytesIO(upload), DecodeLimits(max_seconds=300, timeout_seconds=60))
    assert caught.value.fault is Fault.AUDIO_TOO_LONG
    after = peak_of(worker._process.pid), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after[0] - before[0] < 16_000  # kB; the process keeps no samples
    assert after[1] - before[1] < 2 * 300 * SAMPLE_RATE * 4 / 1000  # kB


def peak_of(process: int) -> int:
    """The most memory that a process has held at once, in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
