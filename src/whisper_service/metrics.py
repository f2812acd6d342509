"""What `/metrics` shows: the service's own series, beside vLLM's in the same registry.

Every label has a closed set of values, so that no client can make a series grow without end.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

REQUESTS = Counter(
    "whisper_requests_total",
    "Requests answered, by route, by outcome (`ok` or the fault) and by response format.",
    ["route", "outcome", "format"],
)
REQUEST_SECONDS = Histogram(
    "whisper_request_duration_seconds",
    "Time from a request's first byte to its answer's last, by route.",
    ["route"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
)
REQUESTS_IN_FLIGHT = Gauge(
    "whisper_requests_in_flight",
    "Requests that have begun and are not answered yet.",
)
AUDIO_SECONDS = Counter(
    "whisper_audio_seconds_total",
    "Seconds of audio transcribed or translated, by task.",
    ["task"],
)
UPLOADS_REFUSED = Counter(
    "whisper_uploads_refused_total",
    "Transcription and translation requests that were refused, by fault.",
    ["reason"],
)
FIRST_DELTA_SECONDS = Histogram(
    "whisper_time_to_first_delta_seconds",
    "Time from a streamed request's first byte to the first of its text.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
STAGE_SECONDS = Histogram(
    "whisper_stage_duration_seconds",
    "Time that a request spends in a stage.",
    ["stage"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
)
DECODERS_ENDED = Counter(
    "whisper_decoders_ended_total",
    "Decoding processes that an upload ended before their time: `crash`, `timeout`, `cancelled`.",
    ["reason"],
)
WINDOWS = Counter(
    "whisper_windows_total",
    "Windows of at most 30 s that were decoded: `text`, `silence`, or `doubted` after all retries.",
    ["outcome"],
)
WINDOW_RETRIES = Counter(
    "whisper_window_retries_total",
    "Tries of a window whose text was doubted, by reason.",
    ["reason"],
)
WINDOWS_RUNNING = Gauge("whisper_windows_running", "Windows that the engine is decoding.")
WINDOWS_QUEUED = Gauge("whisper_windows_queued", "Windows that wait for the engine.")
WINDOWS_ACCEPTED = Gauge(
    "whisper_windows_accepted",
    "Windows of accepted requests, as admission counts them; an upload not decoded yet is one.",
)
WINDOWS_ACCEPTED_LIMIT = Gauge(
    "whisper_windows_accepted_limit",
    "The number of accepted windows at which new requests are refused.",
)
UPLOADS_HELD = Gauge(
    "whisper_uploads_held", "Uploads that are being received, wait for a decoder or are decoded."
)
REFUSED = Counter(
    "whisper_refused_total",
    "Requests that were refused before any of their body was read, by reason: `key`, `state` "
    "(starting, draining, dead), `connections`, `queue` or `uploads`.",
    ["reason"],
)
READY = Gauge("whisper_ready", "1 while the service takes requests, else 0.")
ENGINE_INFO = Info("whisper_engine", "What the engine resolved its arguments to.")
