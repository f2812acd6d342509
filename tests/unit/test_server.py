"""The end of all processes."""

from __future__ import annotations

import os
import subprocess
import time

import psutil
import pytest

from whisper_service.server import _end_at_once


@pytest.mark.slow
def test_the_end_at_once_is_that_of_all_processes() -> None:
    reading, writing = os.pipe()
    waiting, going = os.pipe()
    clean, cleaned = os.pipe()
    process = os.fork()
    if process == 0:
        family = "sleep 99 & echo $!; exec sleep 99"
        subprocess.Popen(["sh", "-c", family], stdout=writing).poll()
        os.read(waiting, 1)  # until they are there
        _end_at_once(lambda: os.write(cleaned, b"!"))
    grandchild = int(os.read(reading, 20))
    os.write(going, b"!")
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert os.read(clean, 1) == b"!"
    deadline = time.monotonic() + 5
    while psutil.pid_exists(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for descriptor in (reading, writing, waiting, going, clean, cleaned):
        os.close(descriptor)
