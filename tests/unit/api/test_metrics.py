"""Prometheus sees what was asked, what was answered and what was refused."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from whisper_service.errors import Fault, ServiceError


@pytest.fixture
def growth():
    """How much a series has grown since the test began."""
    before = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            before[sample.name, frozenset(sample.labels.items())] = sample.value

    def since(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(name, labels) or 0.0
        return now - before.get((name, frozenset(labels.items())), 0.0)

    return since


async def test_an_answered_request_is_counted(post, growth) -> None:
    await post({"response_format": "srt"})
    labels = {"route": "transcriptions", "outcome": "ok", "format": "srt"}
    assert growth("whisper_requests_total", **labels) == 1
    assert growth("whisper_audio_transcribed_seconds_total", task="transcribe") == pytest.approx(
        3.32
    )
    assert growth("whisper_request_duration_seconds_count", route="transcriptions") == 1


async def test_a_refused_upload_is_counted_by_its_reason(post, growth) -> None:
    await post(file=("speech.wav", b"x" * 3_000_001), to="audio/translations")
    labels = {"route": "translations", "outcome": "upload_too_large", "format": "none"}
    assert growth("whisper_requests_total", **labels) == 1
    assert growth("whisper_uploads_refused_total", reason="upload_too_large") == 1
    assert growth("whisper_audio_transcribed_seconds_total", task="translate") == 0


async def test_a_fault_of_the_service_is_counted(post, transcriber, growth) -> None:
    transcriber.failure = ServiceError(Fault.OVERLOADED, "Full.")
    await post()
    labels = {"route": "transcriptions", "outcome": "overloaded", "format": "json"}
    assert growth("whisper_requests_total", **labels) == 1
    transcriber.failure = RuntimeError()
    await post()
    assert growth("whisper_requests_total", **labels | {"outcome": "internal"}) == 1


async def test_made_up_paths_make_no_series_of_their_own(client, growth) -> None:
    for number in range(5):
        await client.get(f"http://test/made/up/{number}")
    labels = {"route": "unmatched", "outcome": "route_not_found", "format": "none"}
    assert growth("whisper_requests_total", **labels) == 5


async def test_requests_in_flight_return_to_zero(post, transcriber, growth) -> None:
    transcriber.failure = RuntimeError()
    await post()
    assert growth("whisper_requests_in_flight") == 0


async def test_the_page_is_what_prometheus_reads(post, client) -> None:
    await post()
    response = await client.get("http://test/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = {family.name for family in text_string_to_metric_families(response.text)}
    assert {
        "whisper_requests",
        "whisper_request_duration_seconds",
        "whisper_requests_in_flight",
        "whisper_audio_transcribed_seconds",
        "whisper_uploads_refused",
        "whisper_refused",
        "whisper_windows_accepted",
        "whisper_windows_accepted_limit",
        "whisper_windows_queued",
        "whisper_uploads_held",
    } <= families
