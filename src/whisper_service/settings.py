"""Every option of the service, in one place.

Each is an environment variable with the prefix `WHISPER_`, or a line of `.env`.
`.env.example` lists them all; a test keeps the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

ENV_PREFIX = "WHISPER_"

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
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged."
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
    max_windows_in_flight: PositiveInt | None = Field(
        default=None,
        description="Windows of 30 s that the engine decodes together. Unset: by profile.",
    )
    encoder_cache_windows: NonNegativeInt = Field(
        default=64,
        description="Windows whose encoder output is kept, so that a retry is spared the encoder.",
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

    # Limits
    max_upload_bytes: PositiveInt = Field(
        default=25 * 1024 * 1024, description="Largest upload, in bytes."
    )
    max_audio_seconds: PositiveFloat = Field(
        default=4 * 3600.0, description="Longest recording, in seconds of decoded audio."
    )
    upload_timeout_seconds: PositiveFloat = Field(
        default=120.0, description="Longest time that receiving one upload may take."
    )
    decode_timeout_seconds: PositiveFloat = Field(
        default=300.0, description="Longest time that decoding one upload may take."
    )
    decode_workers: PositiveInt = Field(
        default=2, description="Uploads that are decoded at the same time."
    )
    max_prompt_chars: NonNegativeInt = Field(
        default=4096, description="Longest `prompt`, in characters."
    )
    drain_seconds: NonNegativeFloat = Field(
        default=30.0, description="How long accepted requests may go on after the order to stop."
    )

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


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
            f"{variable(str(detail['loc'][0]))}: {detail['msg']} (it is {detail['input']!r}). "
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


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"{ENV_PREFIX}{field}".upper()
