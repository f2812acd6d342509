"""Clips of speech with known words, and where in a clip the speech really is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from faster_whisper import decode_audio
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""float32[n], 16 kHz mono, in [-1, 1]."""

SAMPLE_RATE = 16_000  # Hz
AUDIO_SUFFIXES = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm"}
FRAME = SAMPLE_RATE // 100  # samples of 10 ms, the step in which speech bounds are measured
SPEECH_RANGE_DB = 35.0  # quieter than the clip's loudest frame by more than this is no speech


@dataclass(frozen=True, eq=False)
class Clip:
    name: str  # "en/counting"
    language: str
    reference: str
    data: bytes  # the file as it is
    samples: Samples
    speech: tuple[float, float]  # seconds of the clip

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def speech_bounds(samples: Samples) -> tuple[float, float]:
    """Seconds from the first to the last 10 ms frame that is loud enough to be speech.

    Loud enough is measured against the clip's own loudest frame, so that the recording's level
    does not matter. It suits clips that are quiet around the speech; on the default ones, ten
    decibels more or less move a bound by 20 ms at the median.
    """
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + 1e-9)
    loud = np.flatnonzero(level > level.max() - SPEECH_RANGE_DB)
    return float(loud[0]) * FRAME / SAMPLE_RATE, float(loud[-1] + 1) * FRAME / SAMPLE_RATE


def load_clips(folder: Path, languages: list[str] | None = None) -> list[Clip]:
    """Every `<language>/<name>.<audio suffix>` below `folder` that has a `<name>.txt` beside it."""
    clips = []
    for path in sorted(folder.glob("*/*")):
        language, text = path.parent.name, path.with_suffix(".txt")
        wanted = languages is None or language in languages
        if path.suffix.lower() not in AUDIO_SUFFIXES or not wanted or not text.is_file():
            continue
        data = path.read_bytes()
        samples: Samples = decode_audio(io.BytesIO(data), sampling_rate=SAMPLE_RATE)
        reference = text.read_text(encoding="utf-8").strip()
        name = f"{language}/{path.stem}"
        clips.append(Clip(name, language, reference, data, samples, speech_bounds(samples)))
    if not clips:
        raise SystemExit(f"no clips with a text beside them in {folder}")
    return clips


def encode_flac(samples: Samples) -> bytes:
    """The samples as a FLAC file of 16 bits: lossless, and an hour fits into an upload."""
    return _encode(samples, "flac", "flac", {})


def encode_opus(samples: Samples) -> bytes:
    """The samples as Opus at 16 kbit/s: three hours fit into an upload."""
    return _encode(samples, "ogg", "libopus", {"b": "16000"})


def _encode(samples: Samples, container: str, codec: str, options: dict[str, str]) -> bytes:
    values = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as target:
        stream = target.add_stream(codec, rate=SAMPLE_RATE, layout="mono", options=options)
        for start in range(0, len(values), SAMPLE_RATE):
            block = np.ascontiguousarray(values[None, start : start + SAMPLE_RATE])
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return file.getvalue()
