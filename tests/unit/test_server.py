"""How settings become engine arguments, and the end of all processes."""

from __future__ import annotations

import os
import subprocess
import time

import psutil
import pytest

from whisper_service.engine.profiles import Device, Profile, choose, with_engines
from whisper_service.server import _end_at_once, with_settings
from whisper_service.settings import Settings


@pytest.fixture
def profile() -> Profile:
    return choose("gpu", Device(capability=(9, 0)))


def test_one_gpu_is_asked_for_as_ever(profile: Profile) -> None:
    assert with_settings(profile, Settings(_env_file=None)) == profile


def test_the_engine_sends_its_spans_where_the_service_does(profile: Profile) -> None:
    endpoint = "http://collector:4318/v1/traces"
    changed = with_settings(profile, Settings(_env_file=None, traces_endpoint=endpoint))
    assert changed.engine_args["otlp_traces_endpoint"] == endpoint


def test_windows_in_flight_are_counted_for_each_engine(profile: Profile) -> None:
    two = with_engines(profile, Device(capability=(9, 0), gpus=2), 2)
    settings = Settings(_env_file=None, max_windows_in_flight=10)
    assert with_settings(two, settings).max_windows == 20


@pytest.mark.slow
def test_the_end_at_once_is_that_of_all_processes() -> None:
    reading, writing = os.pipe()
    waiting, going = os.pipe()
    process = os.fork()
    if process == 0:
        family = "sleep 99 & echo $!; exec sleep 99"
        subprocess.Popen(["sh", "-c", family], stdout=writing).poll()
        os.read(waiting, 1)  # until they are there
        _end_at_once()
    grandchild = int(os.read(reading, 20))
    os.write(going, b"!")
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    deadline = time.monotonic() + 5
    while psutil.pid_exists(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for descriptor in (reading, writing, waiting, going):
        os.close(descriptor)
