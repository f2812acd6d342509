"""How settings become engine arguments."""

from __future__ import annotations

import pytest

from whisper_service.engine.profiles import Device, Profile, choose, with_engines
from whisper_service.server import with_settings
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
