from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.samples import samples_folder
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.domain import Samples

from .lures import Canary

Encoder = Callable[..., bytes]


def encode_audio(
    signal: NDArray[np.float64],
    *,
    container: str,
    codec: str,
    rate: int,
    layout: str = "mono",
    sample_format: str | None = None,
    with_video: bool = False,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> bytes:
    """A media file that holds `signal` (float[n] or float[channels, n]) as its audio track."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as output:
        picture = None
        if with_video:
            picture = output.add_stream("mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream(codec, rate=rate, layout=layout, options=codec_options)
        if sample_format:
            sound.codec_context.format = sample_format
        channels = sound.codec_context.layout.nb_channels
        planes = np.broadcast_to(signal, (channels, signal.shape[-1])).astype(np.float32)
        step = rate // 10 if with_video else rate  # one picture every tenth of a second
        for first in range(0, planes.shape[1], step):
            piece = planes[:, first : first + step].T.reshape(1, -1)  # PyAV crashes on many planes
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
            frame.sample_rate = rate
            frame.pts = first
            output.mux(sound.encode(frame))
            if picture is not None:
                image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")
                output.mux(picture.encode(image))
        output.mux(sound.encode(None))
        if picture is not None:
            output.mux(picture.encode(None))
    return file.getvalue()


@pytest.fixture(scope="session")
def encode() -> Encoder:
    return encode_audio


@pytest.fixture(scope="session")
def isolated_decoder() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(2)
    decoder.start()
    yield decoder
    decoder.close()


@pytest.fixture(scope="session")
def recordings() -> dict[str, Samples]:
    """Real speech, by language and clip: "en/counting"."""
    limits = DecodeLimits(max_seconds=60, timeout_seconds=10)
    clips = {}
    for path in sorted(samples_folder().glob("*/*.wav")):
        with path.open("rb") as file:
            clips[f"{path.parent.name}/{path.stem}"] = decode(file, limits)
    return clips


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


@pytest.fixture
def canary(encode: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    """In the working directory of this process, and of those that it starts from now on."""
    path = tmp_path / "canary.wav"
    path.write_bytes(encode(np.zeros(16000), container="wav", codec="pcm_s16le", rate=16000))
    monkeypatch.chdir(tmp_path)
    bird = Canary(path)
    yield bird
    bird.close()
