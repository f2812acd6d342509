"""Spans reach a collector, hang under the client's own, and say nothing of what was said."""

from __future__ import annotations

import sys

import pytest

from tests.collector import Collector, attributes, running_collector
from whisper_service.telemetry.record import RequestRecord, Stage, begin, recording, stage
from whisper_service.telemetry.tracing import (
    NO_SPAN,
    TracingUnavailableError,
    configure_tracing,
    start_request_span,
    stop_tracing,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", raising=False)
    with running_collector() as collector:
        configure_tracing(collector.endpoint)
        yield collector
        stop_tracing()


def test_the_clients_trace_goes_on_through_every_stage(collector: Collector) -> None:
    record = RequestRecord(span=start_request_span("POST", TRACEPARENT))
    with recording(record):
        with stage(Stage.DECODE):
            pass
        begin(Stage.QUEUE).end()
    record.span.note_http("POST", "transcriptions", 200)
    record.span.note(outcome="ok", windows=3)
    record.span.end()
    stop_tracing()
    request = next(span for _, span in collector.received if "transcriptions" in span.name)
    stages = [span for _, span in collector.received if span is not request]
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert {span.name for span in stages} == {"decode", "queue"}
    assert {span.parent_span_id for span in stages} == {request.span_id}
    assert {name for name, _ in collector.received} == {"whisper-service"}
    told = attributes(request)
    assert told["http.response.status_code"] == 200
    assert (told["whisper.outcome"], told["whisper.windows"]) == ("ok", 3)


def test_the_engine_is_given_the_windows_own_context(collector: Collector) -> None:
    span = start_request_span("POST", TRACEPARENT).child("window")
    headers = span.headers
    span.end()
    stop_tracing()
    (window,) = [each for _, each in collector.received if each.name == "window"]
    assert headers == {"traceparent": f"00-{TRACE}-{window.span_id.hex()}-01"}


def test_a_failure_is_told_by_its_kind_only(collector: Collector) -> None:
    span = start_request_span("POST", {})
    with recording(RequestRecord(span=span)), pytest.raises(ValueError), stage(Stage.DECODE):
        raise ValueError("what a client sent")
    stop_tracing()
    (failed,) = [each for _, each in collector.received]
    assert (failed.status.code, failed.status.message) == (2, "ValueError")
    assert not failed.events


def test_a_collector_that_is_not_there_harms_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # seconds until it is given up
    configure_tracing("http://127.0.0.1:9/v1/traces")
    with recording(RequestRecord(span=start_request_span("POST", {}))), stage(Stage.DECODE):
        pass
    stop_tracing()


def test_without_tracing_nothing_is_made() -> None:
    span = start_request_span("POST", TRACEPARENT)
    assert span is NO_SPAN
    assert span.child("window") is NO_SPAN
    assert span.headers is None
    assert span.trace_id is None


def test_tracing_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingUnavailableError, match=r"whisper-service\[otel\]"):
        configure_tracing("http://127.0.0.1:9/v1/traces")
