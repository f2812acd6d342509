"""Where the service listens, and what it says about it."""

from __future__ import annotations

import logging

import pytest

from whisper_service.api.serving import server_config, warn_of_open_doors
from whisper_service.settings import Settings

KEY = "0123456789abcdef"


async def app(scope, receive, send) -> None:
    """Never called."""


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ({}, "127.0.0.1"),
        ({"api_keys": KEY}, "0.0.0.0"),
        ({"host": "0.0.0.0"}, "0.0.0.0"),
        ({"host": "127.0.0.1", "api_keys": KEY}, "127.0.0.1"),
        ({"host": "::"}, "::"),
    ],
)
def test_without_keys_only_this_machine_is_served_unless_it_is_told_otherwise(given, host) -> None:
    assert server_config(app, Settings(_env_file=None, **given)).host == host


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["no API key is set", "127.0.0.1 only"]),
        ({"host": "localhost"}, ["no API key is set", "localhost only"]),
        ({"host": "0.0.0.0"}, ["NO API KEY IS SET", "0.0.0.0", "everybody"]),
        ({"api_keys": "short"}, ["shorter than 16"]),
    ],
)
def test_the_log_says_once_who_may_use_the_service(caplog, given, words) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_open_doors(Settings(_env_file=None, **given))
    (record,) = caplog.records
    assert all(word in record.getMessage() for word in words)
    assert "short," not in record.getMessage()


def test_a_locked_service_has_nothing_to_warn_of(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_open_doors(Settings(_env_file=None, api_keys=KEY, host="0.0.0.0"))
    assert not caplog.records
