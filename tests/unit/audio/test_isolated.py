"""A decoder may crash, hang, eat memory or be taken over: it costs one request and nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from whisper_service.audio import decoding_process, isolated
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.audio.isolated import IsolatedDecoder
from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.errors import Fault, ServiceError

LIMITS = DecodeLimits(max_seconds=600, timeout_seconds=60)
HOSTILE = (str(Path(__file__).parent / "hostile_process.py"),)


@pytest.fixture
def hostile() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(1, HOSTILE)
    yield decoder
    decoder.close()


def play(decoder: IsolatedDecoder, order: str = "play", limits: DecodeLimits = LIMITS) -> Samples:
    return decoder.decode(io.BytesIO(order.encode()), limits)


def refusal(decoder: IsolatedDecoder, order: str, limits: DecodeLimits = LIMITS) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        play(decoder, order, limits)
    return caught.value


def process_of(decoder: IsolatedDecoder) -> int:
    """The id of a one-process decoder's process."""
    (worker,) = decoder._workers
    assert worker._process is not None
    return worker._process.pid


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# What it gives


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 16000, "mono"),
        ("wav", "pcm_f32le", 44100, "stereo"),
        ("flac", "flac", 48000, "5.1"),
        ("mp3", "libmp3lame", 44100, "stereo"),
        ("mp4", "aac", 44100, "stereo"),
        ("ogg", "libopus", 48000, "mono"),
        ("webm", "libopus", 48000, "stereo"),
        ("mpeg", "mp2", 44100, "stereo"),
    ],
)
def test_it_gives_exactly_what_decoding_in_this_process_gives(
    isolated_decoder, encode, container, codec, rate, layout
):
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * rate)
    data = encode(noise, container=container, codec=codec, rate=rate, layout=layout)
    samples = isolated_decoder.decode(io.BytesIO(data), LIMITS)
    assert samples.dtype == np.float32
    assert samples.flags.writeable
    assert np.array_equal(samples, decode(io.BytesIO(data), LIMITS))


def test_refusals_are_told_as_they_are(isolated_decoder, encode):
    long = encode(np.zeros(3 * 8000), container="wav", codec="pcm_s16le", rate=8000)
    for upload, limits in [
        (b"", LIMITS),
        (b"no audio at all", LIMITS),
        (long[:200], LIMITS),
        (long, DecodeLimits(max_seconds=2, timeout_seconds=60)),
        (long, DecodeLimits(max_seconds=2, timeout_seconds=0)),
    ]:
        with pytest.raises(ServiceError) as here:
            decode(io.BytesIO(upload), limits)
        with pytest.raises(ServiceError) as there:
            isolated_decoder.decode(io.BytesIO(upload), limits)
        assert vars(there.value) == vars(here.value)


def test_what_the_process_logs_is_logged_here(isolated_decoder, encode, caplog):
    caplog.set_level("INFO", "whisper_service")
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * 44100)
    data = bytearray(encode(noise, container="adts", codec="aac", rate=44100))
    data[20_000:20_700] = np.random.default_rng(3).bytes(700)
    isolated_decoder.decode(io.BytesIO(data), LIMITS)
    assert "packets were damaged" in caplog.text


@pytest.mark.parametrize("size", [1, isolated._COPIED_BYTES, isolated._COPIED_BYTES + 1])
def test_an_upload_of_any_size_and_kind_arrives_whole_and_moves_no_further_than_it_is(
    isolated_decoder, size
):
    data = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0"
    data += b"data\xff\xff\xff\xff" + b"\x01\x02" * max(1600, (size - 44) // 2)
    expected = decode(io.BytesIO(data), LIMITS)
    with tempfile.SpooledTemporaryFile(max_size=isolated._COPIED_BYTES) as spooled:
        spooled.write(data)
        assert np.array_equal(isolated_decoder.decode(spooled, LIMITS), expected)
        assert spooled._rolled == (len(data) > isolated._COPIED_BYTES)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        assert np.array_equal(isolated_decoder.decode(file, LIMITS), expected)
        assert os.fstat(file.fileno()).st_size == len(data)
    assert np.array_equal(isolated_decoder.decode(io.BytesIO(data), LIMITS), expected)


# What may happen


@pytest.mark.parametrize(
    "order",
    [
        *(f"signal {int(each)}" for each in (signal.SIGSEGV, signal.SIGKILL, signal.SIGXCPU)),
        "crash",
        "exit 0",
        "exit 3",
        "talk 00",
        "talk 7300,64",  # a sample that is not whole,
        "talk 7800",  # a refusal that is none,
        "talk 787b7d",
        "flood",
    ],
)
def test_a_process_that_breaks_makes_the_upload_unreadable_and_the_next_one_is_fine(hostile, order):
    first = process_of(hostile) if play(hostile).size else 0
    error = refusal(hostile, order)
    assert error.fault is Fault.UNREADABLE_AUDIO
    assert error.param == "file"
    assert not is_alive(first)
    assert play(hostile).size == 16_000
    assert process_of(hostile) != first


def test_memory_has_an_end_and_running_into_it_refuses_the_file_and_keeps_the_process(hostile):
    play(hostile)
    process = process_of(hostile)
    error = refusal(hostile, "eat")
    assert error.fault is Fault.UNREADABLE_AUDIO
    assert "cannot be" not in error.message
    play(hostile)
    assert process_of(hostile) == process


@pytest.mark.parametrize("order", ["spin", "sleep"])
def test_a_process_that_hangs_is_killed_when_the_time_is_up(hostile, order, monkeypatch):
    monkeypatch.setattr(isolated, "_GRACE_SECONDS", 0.1)
    play(hostile)
    process = process_of(hostile)
    error = refusal(hostile, order, DecodeLimits(max_seconds=60, timeout_seconds=0.2))
    assert error.fault is Fault.TIMED_OUT
    assert "0.2 s" in error.message
    assert not is_alive(process)
    assert play(hostile).size == 16_000


@pytest.mark.slow
def test_the_kernel_ends_what_spins_even_where_the_parent_does_not(hostile, monkeypatch):
    monkeypatch.setattr(isolated, "_GRACE_SECONDS", 600)
    error = refusal(hostile, "spin", DecodeLimits(max_seconds=60, timeout_seconds=0.1))
    assert error.fault is Fault.UNREADABLE_AUDIO


def test_cancelling_ends_the_process_whatever_it_does(hostile):
    play(hostile)
    process = process_of(hostile)
    began = threading.Event()

    def cancelled() -> bool:
        began.set()
        return gone

    gone = False
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(hostile.decode, io.BytesIO(b"spin"), LIMITS, cancelled)
        began.wait()
        gone = True
        error = work.exception()
        assert isinstance(error, ServiceError)
        assert error.fault is Fault.TIMED_OUT
        assert "cancelled" in error.message
        assert not is_alive(process)
        assert pool.submit(play, hostile).result().size == 16_000


@pytest.mark.slow
def test_others_are_not_disturbed_by_a_process_that_breaks():
    decoder = IsolatedDecoder(3, HOSTILE)
    try:
        with ThreadPoolExecutor(6) as pool:
            orders = ["play", "crash", "play", "exit 1", "play", "raise"] * 5
            results = [pool.submit(play, decoder, order) for order in orders]
            for order, result in zip(orders, results, strict=True):
                if order == "play":
                    assert result.result().size == 16_000
                else:
                    assert isinstance(result.exception(), ServiceError)
    finally:
        decoder.close()


def held_here() -> tuple[int, int, int]:
    """Descriptors, child processes and shared memory of this process."""
    shared = re.findall(r"/dev/shm/|/memfd:", Path("/proc/self/maps").read_text())
    return len(os.listdir("/proc/self/fd")), len(children()), len(shared)  # noqa: PTH208


@pytest.mark.slow
def test_breaking_over_and_over_leaves_nothing_behind(hostile):
    play(hostile)
    before = held_here()
    for order in ["crash", "exit 1", "talk 00", "raise", "eat", "flood"] * 2:
        refusal(hostile, order)
    play(hostile)
    assert held_here() == before


def test_an_upload_that_cannot_be_read_here_fails_and_the_next_one_is_fine(hostile):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        hostile.decode(Broken(b"play"), LIMITS)
    assert play(hostile).size == 16_000


# The processes' life


def test_a_process_is_replaced_after_so_many_files(hostile, monkeypatch):
    monkeypatch.setattr(isolated, "FILES_PER_PROCESS", 3)
    processes = []
    for _ in range(7):
        play(hostile)
        processes.append(hostile._workers[0]._process)
    assert len(set(processes)) == 3  # the one after the third file is the one that comes next


def test_a_process_that_dies_while_it_waits_is_no_fault_of_the_next_upload(hostile):
    play(hostile)
    process = process_of(hostile)
    os.kill(process, signal.SIGKILL)
    assert eventually(lambda: not is_alive(process))
    assert play(hostile).size == 16_000


def test_all_are_ready_once_it_has_started():
    decoder = IsolatedDecoder(2)
    try:
        decoder.start()
        assert [worker._is_ready for worker in decoder._workers] == [True, True]
    finally:
        decoder.close()


@pytest.mark.parametrize("command", [("-c", "pass"), ("-c", "print('no')"), ("/no/such.py",)])
def test_a_process_that_cannot_start_is_no_fault_of_the_upload(command):
    decoder = IsolatedDecoder(1, command)
    try:
        with pytest.raises(ServiceError) as starting:
            decoder.start()
        assert starting.value.fault is Fault.NOT_READY
        assert refusal(decoder, "play").fault is Fault.NOT_READY
    finally:
        decoder.close()


def test_a_system_without_room_for_a_process_is_no_fault_of_the_upload(hostile, monkeypatch):
    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_room)
        assert refusal(hostile, "play").fault is Fault.NOT_READY
    assert play(hostile).size == 16_000


def test_closing_ends_what_is_being_decoded_and_every_process():
    before = children()
    decoder = IsolatedDecoder(2, HOSTILE)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(decoder.start).result()
        work = pool.submit(play, decoder, "spin")
        assert eventually(work.running)
        decoder.close()
        assert isinstance(work.exception(), ServiceError)
        assert children() == before
        late = pool.submit(play, decoder).exception()
        assert isinstance(late, ServiceError)
        assert late.fault is Fault.NOT_READY


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_does_not_end_work_that_was_accepted(hostile, number):
    play(hostile)
    os.kill(process_of(hostile), number)
    assert play(hostile).size == 16_000


PARENT = """
import io, sys, threading
from whisper_service.audio.decode import DecodeLimits
from whisper_service.audio.isolated import IsolatedDecoder
decoder = IsolatedDecoder(2, tuple(sys.argv[1:]))
decoder.start()
print(*(worker._process.pid for worker in decoder._workers), flush=True)
decoder.decode(io.BytesIO(b"spin"), DecodeLimits(600, 600))
"""


def test_no_process_outlives_a_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *HOSTILE], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        processes = [int(each) for each in parent.stdout.readline().split()]
        assert len(processes) == 2
        assert all(is_alive(each) for each in processes)
        parent.kill()
    assert eventually(lambda: not any(is_alive(each) for each in processes))


# What it may not do


def test_it_opens_no_file_and_no_connection(hostile, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        for order in (f"open {secret}", "open /proc/self/environ", f"connect {port}"):
            assert "Too many open files" in refusal(hostile, order).message
        with pytest.raises(BlockingIOError):
            server.accept()


def test_it_writes_nothing(hostile, tmp_path):
    assert "Too many open files" in refusal(hostile, f"write {tmp_path}/new").message
    assert not (tmp_path / "new").exists()
    assert "File too large" in refusal(hostile, "scribble").message


def test_it_knows_nothing_of_the_parents_settings(monkeypatch):
    monkeypatch.setenv("WHISPER_API_KEYS", "s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    decoder = IsolatedDecoder(1, HOSTILE)
    try:
        told = refusal(decoder, "environment").message
    finally:
        decoder.close()
    assert "PATH" in told
    assert "WHISPER" not in told
    assert "SECRET" not in told


def test_it_is_small():
    """It starts in 0.1 s and takes 28 MB, since of all that the service needs it imports little."""
    modules = f"import json, sys, {decoding_process.__name__}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", modules], capture_output=True, check=True)
    imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"av", "numpy"} <= imported
    large = {"torch", "vllm", "onnxruntime", "fastapi", "pydantic", "asyncio", "prometheus_client"}
    assert not imported & large


def test_samples_are_as_many_as_are_allowed_at_most(hostile):
    exactly = DecodeLimits(max_seconds=16_000 / SAMPLE_RATE, timeout_seconds=60)
    assert play(hostile, limits=exactly).size == 16_000
    less = DecodeLimits(max_seconds=15_999 / SAMPLE_RATE, timeout_seconds=60)
    assert refusal(hostile, "play", less).fault is Fault.UNREADABLE_AUDIO
