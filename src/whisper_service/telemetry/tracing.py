"""OpenTelemetry spans, sent over OTLP/HTTP. Off unless `configure_tracing` is called.

The packages are an optional extra (`whisper-service[otel]`): nothing here imports them before. Nor
is the process's global tracer provider touched, which is vLLM's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

Attribute = str | bool | int | float

PROTOCOL: Final = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_SERVICE_NAME: Final = "OTEL_SERVICE_NAME"


class TracingUnavailableError(RuntimeError):
    """Traces are asked for, and the packages that send them are not installed."""


class Span:
    """One stretch of a request's time. Of no effect where tracing is off or nobody samples it."""

    def __init__(self, span: OtelSpan | None = None) -> None:
        self._span = span

    def child(self, name: str) -> Span:
        """A span that begins now, under this one."""
        if self._span is None or _tracing is None:
            return self
        return Span(_tracing.start(name, self._span))

    def note(self, **attributes: Attribute) -> None:
        """Adds attributes; names get the prefix `whisper.`."""
        if self._span is not None:
            self._span.set_attributes(
                {f"whisper.{name}": value for name, value in attributes.items()}
            )

    def note_http(self, method: str, route: str, status: int) -> None:
        """Adds what OpenTelemetry's conventions name for a request that was answered."""
        if self._span is not None:
            self._span.update_name(f"{method} {route}")
            self._span.set_attributes(
                {
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                }
            )

    def end(self, failure: BaseException | None = None) -> None:
        if self._span is None:
            return
        if failure is not None:
            from opentelemetry.trace import StatusCode

            # Its kind and not its message, which may quote what a client sent.
            self._span.set_status(StatusCode.ERROR, type(failure).__name__)
        self._span.end()

    @property
    def headers(self) -> Mapping[str, str] | None:
        """`traceparent` and its like, for whoever goes on with the trace; None: there is none."""
        if self._span is None:
            return None
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(self._span))
        return carrier

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits; None where tracing is off."""
        if self._span is None:
            return None
        return format(self._span.get_span_context().trace_id, "032x")


NO_SPAN: Final = Span()


class _Tracing:
    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get(_SERVICE_NAME, "whisper-service")
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer: Tracer = self._provider.get_tracer("whisper_service")

    def start(self, name: str, parent: OtelSpan) -> OtelSpan:
        from opentelemetry.trace import set_span_in_context

        return self._tracer.start_span(name, context=set_span_in_context(parent))

    def start_request(self, name: str, headers: Mapping[str, str]) -> OtelSpan:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(headers)
        return self._tracer.start_span(name, context=context, kind=SpanKind.SERVER)

    def shutdown(self) -> None:
        self._provider.shutdown()


_tracing: _Tracing | None = None


def configure_tracing(endpoint: str) -> None:
    """From now on requests are traced.

    OpenTelemetry's own environment variables (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
    `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`) hold as everywhere.

    Args:
        endpoint: where an OTLP/HTTP collector takes traces, "http://collector:4318/v1/traces".

    Raises:
        TracingUnavailableError: the extra `otel` is not installed.
    """
    global _tracing
    # vLLM's exporter, in its own processes, speaks gRPC unless it is told.
    os.environ.setdefault(PROTOCOL, "http/protobuf")
    try:
        _tracing = _Tracing(endpoint)
    except ImportError as error:
        raise TracingUnavailableError(
            f"WHISPER_TRACES_ENDPOINT is set, but {error.name} is not installed: "
            "pip install 'whisper-service[otel]'"
        ) from error


def stop_tracing() -> None:
    """Sends what is left. Blocks for as long as the collector does, 10 s at most."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is not None:
        tracing.shutdown()


def start_request_span(name: str, headers: Mapping[str, Any]) -> Span:
    """The span of a whole request, under the client's where `headers` have a `traceparent`."""
    if _tracing is None:
        return NO_SPAN
    return Span(_tracing.start_request(name, headers))
