"""What is transcribed: clips and recordings of varied English speech, the same for every peer.

The license of this project is read aloud by espeak-ng (Debian's package): 1,600 different words a
reading, and another voice and speed with each. Where it is not installed, the recorded samples are
joined over and over; that repeats itself, which no transcriber likes, so install it to compare.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import wave
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np

from samples import samples_folder
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.domain import SAMPLE_RATE, Samples

_TEXT = Path(__file__).parents[2] / "LICENSE"
_READERS = (("en-us", 165), ("en-gb", 150), ("en-us+f3", 175), ("en-gb+m4", 160), ("en-us+m2", 145))
_takes = count()
_TURN = 20.0  # seconds of speech, and then of silence, in a recording that is half silent


@dataclass(frozen=True, eq=False)
class Audio:
    """samples: float32[n], 16 kHz mono, in [-1, 1]."""

    name: str
    samples: Samples

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @cached_property
    def wav(self) -> bytes:
        file = io.BytesIO()
        with wave.open(file, "wb") as target:
            target.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
            target.writeframes((np.clip(self.samples, -1, 1) * 32_767).astype("<i2").tobytes())
        return file.getvalue()

    @cached_property
    def flac(self) -> bytes:
        """Half the size, and nothing lost."""
        return self.encoded("flac", "flac")

    def anew(self) -> Audio:
        """The same to the ear, and for everybody's caches another: one in three samples is a step
        of 16 bits higher, one lower. Which ones is the same in every run.
        """
        steps = np.random.default_rng(next(_takes)).integers(-1, 2, len(self.samples), np.int8)
        return Audio(self.name, self.samples + (steps / 32_767).astype(np.float32))

    def encoded(self, container: str, codec: str) -> bytes:
        """The audio in another form, such as ("ogg", "libopus")."""
        import av

        rate = 48_000 if codec == "libopus" else SAMPLE_RATE
        file = io.BytesIO()
        with av.open(file, "w", format=container) as target:
            stream = target.add_stream(codec, rate=rate, layout="mono")
            values = np.round(np.clip(self.samples, -1, 1) * 32_767).astype(np.int16)
            source = av.AudioFrame.from_ndarray(values[None], format="s16", layout="mono")
            source.sample_rate, source.pts = SAMPLE_RATE, 0
            size = stream.codec_context.frame_size or SAMPLE_RATE
            form = stream.codec_context.format.name
            resampler = av.AudioResampler(form, "mono", rate, frame_size=size)
            for frame in (*resampler.resample(source), *resampler.resample(None)):
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
        return file.getvalue()


class Speech:
    """As much of it as is asked for; no two parts are alike."""

    def __init__(self) -> None:
        self._said: Samples = np.zeros(0, np.float32)
        self._position = 0
        self._reading = count()

    def take(self, seconds: float) -> Samples:
        """The next `seconds` of it, float32[n]."""
        wanted = round(seconds * SAMPLE_RATE)
        while len(self._said) - self._position < wanted:
            self._said = np.concatenate([self._said[self._position :], self._read_on()])
            self._position = 0
        part = self._said[self._position : self._position + wanted]
        self._position += wanted
        return part

    def _read_on(self) -> Samples:
        if shutil.which("espeak-ng") is None:
            return _recorded()
        voice, speed = _READERS[next(self._reading) % len(_READERS)]
        text = re.sub(r"[\s\"()\[\]]+", " ", _TEXT.read_text())
        command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text]
        spoken = subprocess.run(command, capture_output=True, check=True).stdout
        return _decoded(io.BytesIO(spoken))


def _decoded(file: io.BytesIO) -> Samples:
    return decode(file, DecodeLimits(max_seconds=3_600, timeout_seconds=120))


def _recorded() -> Samples:
    paths = sorted((samples_folder() / "en").glob("*.wav"))
    return np.concatenate([_decoded(io.BytesIO(path.read_bytes())) for path in paths])


def clips(seconds: float, number: int) -> list[Audio]:
    """Different clips of dense speech."""
    speech = Speech()
    return [Audio(f"{seconds:g} s", speech.take(seconds)) for _ in range(number)]


def short_clips(number: int) -> list[Audio]:
    """Clips of 2 to 5 s."""
    speech, lengths = Speech(), np.linspace(2, 5, number)
    return [Audio("2 to 5 s", speech.take(float(seconds))) for seconds in lengths]


def recording(minutes: float, *, half_silent: bool = False) -> Audio:
    """One long recording; half silent: 20 s of speech, 20 s of silence, and so on."""
    speech, total = Speech(), minutes * 60
    if not half_silent:
        return Audio(f"{minutes:g} min", speech.take(total))
    rng = np.random.default_rng(0)
    parts: list[Samples] = []
    for _ in range(round(total / _TURN / 2)):
        quiet = rng.normal(0, 1e-4, round(_TURN * SAMPLE_RATE)).astype(np.float32)
        parts += [speech.take(_TURN), quiet]
    return Audio(f"{minutes:g} min, half silent", np.concatenate(parts))
