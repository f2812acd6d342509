"""Every option of the service, in one place.

Each is an environment variable with the prefix `WHISPER_`, or a line of `.env`.
`.env.example` lists them all; a test keeps the two equal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

ENV_PREFIX = "WHISPER_"
LOOPBACK: Final = "127.0.0.1"
_KEY: Final = re.compile(r"[\x21-\x7e]+")

Profile = Literal["auto", "gpu", "cpu"]


def _default_cache_dir() -> Path:
    return Path("~/.cache/whisper-service").expanduser()


class Settings(BaseSettings):
    """The service's configuration. A wrong value stops the start, naming the variable."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    # Server
    host: str | None = Field(
        default=None,
        description=("Address to listen on. Unset: 127.0.0.1 without API keys, 0.0.0.0 with them."),
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged."
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="How it is logged: lines to read, or a JSON object a line for a log store.",
    )
    log_transcripts: bool = Field(
        default=False,
        description="Whether transcripts are logged. Whoever reads the log then reads them all.",
    )
    traces_endpoint: str | None = Field(
        default=None,
        description=(
            "Where an OpenTelemetry collector takes traces over OTLP/HTTP, such as "
            "http://collector:4318/v1/traces; the engine's spans go there too. Needs the extra "
            "`otel`. Unset: no traces."
        ),
    )
    replica_metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65_000,
        description=(
            "Under Ray Serve only: port at which each replica shows its own metrics, without a "
            "key, since /metrics reaches any of them; the next free one where several share a "
            "machine. Unset: none."
        ),
    )

    # Who may use it
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description=(
            "Keys, comma separated, of which each request must bear one. Unset, and no file of "
            "keys: everybody who reaches the port may use the service."
        ),
    )
    api_keys_file: Path | None = Field(
        default=None,
        description=(
            "File with further keys, one a line; blank lines and lines that begin with # do not "
            "count. It is read once, at the start."
        ),
    )
    public_metrics: bool = Field(
        default=False,
        description=(
            "Whether /metrics is open when keys are set. They tell how much the service is used, "
            "and Prometheus can send a key (`authorization: credentials`)."
        ),
    )
    public_docs: bool = Field(
        default=True,
        description=(
            "Whether /docs and /openapi.json are open when keys are set. They tell nothing about "
            "this installation but its limits, and a browser cannot send a key for a page."
        ),
    )
    playground: bool = Field(
        default=True,
        description=(
            "Whether there is a page at / to try the service with. It does not need a key; what "
            "it asks of the API does, where keys are set."
        ),
    )

    # Model
    model: str | None = Field(
        default=None,
        description=(
            "`embedded` (whisper-base, needs no hub), `embedded:tiny.en`, a folder, or a hub id. "
            "Unset: openai/whisper-large-v3 on a GPU, embedded on a CPU."
        ),
    )
    model_aliases: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("whisper-1",),
        description="Further names, comma separated, under which clients may ask for the model.",
    )
    cache_dir: Path = Field(
        default_factory=_default_cache_dir,
        description="Where the prepared embedded model is kept.",
    )

    # Engine
    profile: Profile = Field(
        default="auto", description="Engine arguments for a `gpu` or a `cpu`; `auto` looks."
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="JSON object of vLLM engine arguments that override the profile's.",
    )
    data_parallel_size: PositiveInt = Field(
        default=1,
        description=(
            "GPUs of this machine to use, each with a whole engine of its own among which the "
            "windows are shared out. On a CPU the engines share its cores."
        ),
    )
    max_windows_in_flight: PositiveInt | None = Field(
        default=None,
        description="Windows of 30 s that each engine decodes together. Unset: by profile.",
    )
    encoder_cache_windows: NonNegativeInt | None = Field(
        default=None,
        description=(
            "Windows whose encoder output each engine keeps, so that a retry and the words' times "
            "are spared the encoder: 1.5 MB each with whisper-base, 4 MB with large-v3. Unset: as "
            "many as it decodes together, 64 at most. Windows that wait for their words are kept "
            "besides, two for each that is decoded at most."
        ),
    )

    cpu_kernels: bool = Field(
        default=True,
        description=(
            "On a CPU: whether this service's own kernels compute in place of vLLM's where the "
            "processor has the instructions. Turn them off to find out whether one is at fault."
        ),
    )

    # Decoding
    compression_ratio_threshold: PositiveFloat = Field(
        default=2.4, description="Text that zlib packs tighter than this is a loop: try again."
    )
    logprob_threshold: float = Field(
        default=-1.0, le=0, description="A lower average log-probability than this: try again."
    )
    no_speech_threshold: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="A window above this with a low log-probability is silence.",
    )
    language_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A window this sure of its language decides for the whole file.",
    )
    vad_filter: bool = Field(
        default=True, description="Transcribe only where there is speech (Silero VAD)."
    )

    # Limits of one request
    max_upload_bytes: PositiveInt = Field(
        default=25 * 1024 * 1024, description="Largest upload, in bytes."
    )
    max_audio_seconds: PositiveFloat = Field(
        default=4 * 3600.0, description="Longest recording, in seconds of decoded audio."
    )
    max_prompt_chars: NonNegativeInt = Field(
        default=4096, description="Longest `prompt`, in characters."
    )
    max_form_parts: PositiveInt = Field(
        default=64, description="Most parts of a form, the file and every field counted."
    )
    max_field_bytes: PositiveInt = Field(
        default=64 * 1024, description="Longest form field beside the file, in bytes."
    )
    upload_timeout_seconds: PositiveFloat = Field(
        default=120.0, description="Longest time that receiving one upload may take."
    )
    upload_idle_seconds: PositiveFloat = Field(
        default=15.0, description="Longest pause in an upload: nothing arrives for so long."
    )
    decode_timeout_seconds: PositiveFloat = Field(
        default=300.0, description="Longest time that decoding one upload may take."
    )
    request_timeout_seconds: PositiveFloat = Field(
        default=1800.0,
        description=(
            "Longest time from an upload's last byte to its text, waiting included. Clients "
            "mostly give up earlier: OpenAI's SDKs after 600 s."
        ),
    )

    # Limits of all requests together
    max_queued_windows: NonNegativeInt | None = Field(
        default=None,
        description=(
            "Windows of 30 s that may wait for the engine; where so many do, new requests get a "
            "429. A recording counts as one until it is decoded, and as an eighth of the whole at "
            "most. Decoded audio in memory, about 2 MB a window, is bounded by the same count. "
            "Unset: 16 for each window in flight."
        ),
    )
    max_uploads: PositiveInt = Field(
        default=128,
        description=(
            "Uploads that are received, or wait to be decoded, at the same time; each needs at "
            "most the largest upload's size in the folder for temporary files."
        ),
    )
    decode_workers: PositiveInt = Field(
        default=4,
        description=(
            "Uploads that are decoded at the same time, each in a process of its own (28 MB). "
            "Where there are several, one is kept free of uploads over 1 MiB. One gives "
            "recordings to the engine about 500 times as fast as they play."
        ),
    )
    max_connections: PositiveInt = Field(
        default=512,
        description=(
            "Open connections; transcriptions on further ones get a 429. Keep it below the "
            "process's limit of open files, less the uploads."
        ),
    )
    header_timeout_seconds: PositiveFloat = Field(
        default=10.0, description="Longest time that a request's headers may take to arrive."
    )
    keep_alive_seconds: PositiveInt = Field(
        default=5,
        description=(
            "How long an idle connection is kept. Behind a load balancer: longer than it keeps its "
            "own."
        ),
    )
    send_timeout_seconds: PositiveFloat = Field(
        default=30.0, description="How long a client may take nothing of its answer."
    )

    # The end
    drain_seconds: NonNegativeFloat = Field(
        default=30.0, description="How long accepted requests may go on after the order to stop."
    )

    @field_validator("model_aliases", "api_keys", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_keys", mode="wrap")
    @classmethod
    def _is_not_empty(
        cls, value: object, read: ValidatorFunctionWrapHandler
    ) -> tuple[SecretStr, ...]:
        keys: tuple[SecretStr, ...] = read(value)
        # Somebody meant to close the door: it must not stay open over a stray comma.
        if isinstance(value, str) and not keys:
            raise ValueError("there is no key in it")
        return keys

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            _check_key(key.get_secret_value())
        return keys

    @field_validator("api_keys_file")
    @classmethod
    def _holds_keys(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_key_file(path)
        return path

    @property
    def needs_key(self) -> bool:
        """Whether a request must bear one of the configured keys."""
        return bool(self.api_keys or self.api_keys_file)

    @property
    def listen_host(self) -> str:
        """The host asked for, else every address where keys protect the service."""
        return self.host or ("0.0.0.0" if self.needs_key else LOOPBACK)  # noqa: S104 -- with keys


def read_key_file(path: Path) -> tuple[SecretStr, ...]:
    """The keys in a file.

    Raises:
        ValueError: it cannot be read, has no key in it, or one that no header can carry.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file cannot be read ({error.__class__.__name__})") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError("there is no key in the file")
    for key in keys:
        _check_key(key)
    return tuple(SecretStr(key) for key in keys)


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError("a key is of printable ASCII characters without spaces")


class WrongSettingsError(ValueError):
    """The environment or `.env` has a value that cannot be; the message names the variable."""


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        WrongSettingsError: one line for each wrong value, with what it accepts.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{variable(str(detail['loc'][0]))}: {detail['msg']}{_shown(detail)}. "
            f"{Settings.model_fields[str(detail['loc'][0])].description}"
            for detail in error.errors()
        ]
        raise WrongSettingsError("\n".join(lines)) from error
    except SettingsError as error:
        # A value that should be JSON and is not; pydantic-settings names the field in its text.
        names = [variable(name) for name in Settings.model_fields if f'"{name}"' in str(error)]
        raise WrongSettingsError(
            f"{', '.join(names)}: must be JSON ({error.__cause__})."
        ) from error


def _shown(detail: ErrorDetails) -> str:
    secret = detail["loc"][0] == "api_keys"
    return "" if secret else f" (it is {detail['input']!r})"


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"{ENV_PREFIX}{field}".upper()
