"""Thousands of damaged files: samples or a refusal, and never a crash, a hang or a leak."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from whisper_service.audio import isolated
from whisper_service.audio.decode import DecodeLimits
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.domain import Samples
from whisper_service.errors import Fault, ServiceError

from .mutations import mutant, seeds

LIMITS = DecodeLimits(max_seconds=30, timeout_seconds=20)
FEW, ALL = 300, 5_000
WARM_UP = 200  # files until every path has been gone once
GROWTH = 64_000  # kB that a process may have gained; measured: 26,000 at most
REFUSALS = {Fault.UNREADABLE_AUDIO, Fault.AUDIO_TOO_SHORT, Fault.AUDIO_TOO_LONG}


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedDecoder]:
    """Its processes are never replaced, so that a leak would add up."""
    monkeypatch.setattr(isolated, "FILES_PER_PROCESS", 10 * ALL)
    decoder = IsolatedDecoder(2)
    decoder.start()
    yield decoder
    decoder.close()


def held_by(process: int | str) -> int:
    """Memory of a process's own, in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def outcome(decoder: IsolatedDecoder, data: bytes) -> Samples | ServiceError:
    try:
        return decoder.decode(io.BytesIO(data), LIMITS)
    except ServiceError as error:
        return error


@pytest.mark.parametrize("count", [FEW, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_damaged_file_is_samples_or_a_refusal_and_never_anything_else(
    count, decoder, encode, capfd
):
    files = seeds(encode)

    def decode(number: int) -> str:
        name, data = mutant(files, number)
        result = outcome(decoder, data)
        if isinstance(result, ServiceError):
            assert result.fault in REFUSALS, (number, name, result)
            return f"{result.fault.name}: {result.message.split('.')[0]}"
        assert np.isfinite(result).all(), (number, name)
        assert np.abs(result).max() <= 1, (number, name)
        return "decoded"

    began = time.monotonic()
    processes = [worker._process.pid for worker in decoder._workers]
    with ThreadPoolExecutor(2) as pool:
        outcomes = Counter(pool.map(decode, range(WARM_UP)))
        before = [held_by(process) for process in (*processes, "self")]
        outcomes += Counter(pool.map(decode, range(WARM_UP, count)))
    after = [held_by(process) for process in (*processes, "self")]
    assert capfd.readouterr() == ("", "")
    print(f"{count} files, {time.monotonic() - began:.0f} s; kB held: {before} -> {after}")
    for reason, number in outcomes.most_common():
        print(f"{number:6} {reason}")

    assert [worker._process.pid for worker in decoder._workers] == processes, "one broke"
    assert all(a - b < GROWTH for a, b in zip(after, before, strict=True))
    assert count / 4 < outcomes["decoded"] < count * 0.9, "damage should be bad, but not too bad"


def test_the_files_are_sound_before_they_are_damaged(decoder, encode):
    for name, data in seeds(encode).items():
        samples = decoder.decode(io.BytesIO(data), LIMITS)
        assert len(samples) == pytest.approx(8000, abs=2000), name
        assert np.abs(samples).max() > 0.1, name


def test_the_same_number_is_the_same_file(encode):
    files = seeds(encode)
    assert [mutant(files, number) for number in range(50)] == [
        mutant(files, number) for number in range(50)
    ]
