"""What `/metrics` shows: the service's own series, beside vLLM's in the same registry.

Every label has a closed set of values, so that no client can make a series grow without end.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Info

from whisper_service.errors import Fault

# Where a series may be seen before its first event: rates then begin at 0, and no panel is empty.
_FAULTS: Final = tuple(fault.name.lower() for fault in Fault)
_REQUEST_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_STAGE_BUCKETS: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)

REQUESTS = Counter(
    "whisper_requests_total",
    "Requests answered, by route, by outcome (`ok` or the fault) and by response format.",
    ["route", "outcome", "format"],
)
REQUEST_SECONDS = Histogram(
    "whisper_request_duration_seconds",
    "Time from a request's first byte to its answer's last, by route.",
    ["route"],
    buckets=_REQUEST_BUCKETS,
)
REQUESTS_IN_FLIGHT = Gauge(
    "whisper_requests_in_flight",
    "Requests that have begun and are not answered yet.",
)
AUDIO_RECEIVED_SECONDS = Counter(
    "whisper_audio_received_seconds_total",
    "Seconds of audio in uploads that were accepted and decoded, by task.",
    ["task"],
)
AUDIO_SPEECH_SECONDS = Counter(
    "whisper_audio_speech_seconds_total",
    "Seconds of audio that were left for the engine once silence was taken out, by task.",
    ["task"],
)
AUDIO_SECONDS = Counter(
    "whisper_audio_transcribed_seconds_total",
    "Seconds of audio whose transcript or translation was completed, by task.",
    ["task"],
)
REALTIME_FACTOR = Histogram(
    "whisper_request_realtime_factor",
    "Seconds of audio that a completed request got through for each second that it took, from its "
    "upload's last byte to its text.",
    buckets=(0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
UPLOAD_BYTES = Counter(
    "whisper_upload_received_bytes_total",
    "Bytes of transcription and translation requests' bodies, refused ones included.",
)
UPLOADS_REFUSED = Counter(
    "whisper_uploads_refused_total",
    "Transcription and translation requests that failed or were refused, by fault; not those that "
    "were refused before any of their body was read.",
    ["reason"],
)
UPLOADS_REFUSED_BYTES = Counter(
    "whisper_uploads_refused_bytes_total",
    "Bytes that were received of requests that failed or were refused, by fault.",
    ["reason"],
)
FIRST_DELTA_SECONDS = Histogram(
    "whisper_time_to_first_delta_seconds",
    "Time from a streamed request's first byte to the first of its text.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
STAGE_SECONDS = Histogram(
    "whisper_stage_duration_seconds",
    "Time that a request spends in a stage: receive, decode_queue, decode, vad, queue, generate, "
    "align, format.",
    ["stage"],
    buckets=_STAGE_BUCKETS,
)
WINDOW_WAIT_SECONDS = Histogram(
    "whisper_window_wait_seconds",
    "Time that a window waits for its place in the engine.",
    buckets=_STAGE_BUCKETS,
)
WINDOW_SECONDS = Histogram(
    "whisper_window_duration_seconds",
    "Time that the engine has a window, retries included.",
    buckets=_STAGE_BUCKETS,
)
DECODERS_ENDED = Counter(
    "whisper_decoders_ended_total",
    "Decoding processes that an upload ended before their time: `crash`, `timeout`, `cancelled`.",
    ["reason"],
)
ALIGNMENTS = Counter(
    "whisper_alignments_total",
    "Windows whose words were given times: `aligned`, `encoded_again` where the encoder's output "
    "was not kept for long enough, `estimated` where the alignment failed.",
    ["outcome"],
)
ENCODER_OUTPUTS = Gauge(
    "whisper_encoder_outputs_held",
    "Windows whose encoder outputs the engine held when it last began to align words.",
)
WINDOWS = Counter(
    "whisper_windows_total",
    "Windows of at most 30 s that were decoded: `text`, `silence` that is dropped, `doubted` after "
    "all retries, or `split` because of a repetitive text.",
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

for _task in ("transcribe", "translate"):
    for _counter in (AUDIO_RECEIVED_SECONDS, AUDIO_SPEECH_SECONDS, AUDIO_SECONDS):
        _counter.labels(_task)
for _stage in ("receive", "decode_queue", "decode", "vad", "queue", "generate", "align", "format"):
    STAGE_SECONDS.labels(_stage)
for _fault in _FAULTS:
    UPLOADS_REFUSED.labels(_fault)
    UPLOADS_REFUSED_BYTES.labels(_fault)
for _reason in ("compression_ratio", "logprob", "prompt"):
    WINDOW_RETRIES.labels(_reason)
for _outcome in ("text", "silence", "doubted", "split"):
    WINDOWS.labels(_outcome)
for _outcome in ("aligned", "encoded_again", "estimated"):
    ALIGNMENTS.labels(_outcome)
for _reason in ("key", "state", "connections", "queue", "uploads"):
    REFUSED.labels(_reason)
for _reason in ("crash", "timeout", "cancelled"):
    DECODERS_ENDED.labels(_reason)
