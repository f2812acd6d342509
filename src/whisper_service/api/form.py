"""The fields of a request, with their types, defaults and limits.

These two models are the one place where a field is declared: the form is checked against them, and
the OpenAPI document describes them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from whisper_service.api.fields import LISTS
from whisper_service.formats.response_format import Granularity, ResponseFormat

MAX_SPEECH_MS = 30_000  # a window's length; longer paddings or silences have no meaning


class ServerVad(BaseModel):
    """How speech is found, in OpenAI's terms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(
        default=300, ge=0, le=MAX_SPEECH_MS, description="Audio kept around speech."
    )
    silence_duration_ms: int = Field(
        default=200, ge=0, le=MAX_SPEECH_MS, description="A shorter silence does not end speech."
    )
    threshold: float = Field(
        default=0.5, ge=0, le=1, allow_inf_nan=False, description="Higher asks for louder speech."
    )


def _check_kind(value: object) -> object:
    if isinstance(value, dict) or value == "auto":
        return value
    raise ValueError('it should be "auto" or an object like {"type": "server_vad"}')


# An enumeration of one, since client generators trip over a constant that is one of several types.
_Auto = Annotated[
    Literal["auto"], WithJsonSchema({"type": "string", "enum": ["auto"]}), Tag("auto")
]

ChunkingStrategy = Annotated[
    _Auto | Annotated[ServerVad, Tag("server_vad")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else "server_vad"),
    BeforeValidator(_check_kind),
]


def _no_null(schema: dict[str, Any]) -> None:
    """A form has no null: a field without a value is not sent."""
    del schema["default"]
    value, _null = schema.pop("anyOf")
    schema.update(value)


class SpeechForm(BaseModel):
    """What transcriptions and translations have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="The served model's id or one of its aliases; `GET /models` lists them.",
        examples=["whisper-1"],
    )
    prompt: str = Field(
        default="",
        description=(
            "Text that the audio is taken to follow: names, spellings, style. Whisper reads the "
            "last 223 tokens of it. It does not say which language is spoken."
        ),
    )
    response_format: ResponseFormat = Field(
        default=ResponseFormat.JSON,
        description=(
            "`json` and `verbose_json` are JSON; `text`, `srt` and `vtt` are plain bodies. "
            "`diarized_json` is a 400: Whisper does not tell speakers apart."
        ),
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description=(
            "Above 0: decode at this temperature only. 0: start at 0 and try again hotter, up to "
            "1, where the text does not pass the quality thresholds."
        ),
    )
    vad_filter: bool | None = Field(
        default=None,
        json_schema_extra=_no_null,
        description="Extension. Transcribe only where there is speech. Default: the server's.",
    )
    condition_on_previous_text: bool = Field(
        default=False,
        description=(
            "Extension. Decode window after window, each prompted with the text before it: slower,"
            " at times more coherent."
        ),
    )
    compression_ratio_threshold: float | None = Field(
        default=None,
        json_schema_extra=_no_null,
        gt=0,
        allow_inf_nan=False,
        description=(
            "Extension. Text that zlib packs tighter than this is a loop: try again. "
            "Default: the server's."
        ),
    )
    logprob_threshold: float | None = Field(
        default=None,
        json_schema_extra=_no_null,
        le=0,
        allow_inf_nan=False,
        description=(
            "Extension. A lower average log-probability than this: try again. "
            "Default: the server's."
        ),
    )
    no_speech_threshold: float | None = Field(
        default=None,
        json_schema_extra=_no_null,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description=(
            "Extension. A window above this, with a low log-probability, is silence. "
            "Default: the server's."
        ),
    )

    max_line_width: int | None = Field(
        default=None,
        json_schema_extra=_no_null,
        ge=1,
        le=1000,
        description=(
            "Extension, with `srt` and `vtt`. Most columns of a line; an East Asian wide character "
            "takes two. Default: 42."
        ),
    )
    max_line_count: int | None = Field(
        default=None,
        json_schema_extra=_no_null,
        ge=1,
        le=100,
        description="Extension, with `srt` and `vtt`. Most lines of a cue. Default: 2.",
    )
    max_cue_seconds: float | None = Field(
        default=None,
        json_schema_extra=_no_null,
        ge=0.5,
        allow_inf_nan=False,
        description=(
            "Extension, with `srt` and `vtt`. Longest time of a cue; a longer phrase is cut where "
            "its speaker pauses or a clause ends. Default: as long as the phrase."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, sent: Any) -> Any:
        """An empty field is one that was left blank: HTML forms and many tools send those."""
        if not isinstance(sent, dict):
            return sent
        kept = {name: value for name, value in sent.items() if value != ""}
        for name in LISTS & kept.keys():
            kept[name] = [entry for entry in kept[name] if entry != ""]
        unknown = {name: value for name, value in sent.items() if name not in cls.model_fields}
        return kept | unknown


class TranscriptionForm(SpeechForm):
    language: str | None = Field(
        default=None,
        json_schema_extra=_no_null,
        description=(
            "The spoken language as an ISO-639-1 code (`en`) or an English name. "
            "Left out, empty or `auto`: detected from the audio."
        ),
        examples=["en"],
    )
    include: list[Literal["logprobs"]] = Field(
        default_factory=list,
        max_length=8,
        description="`logprobs`, with `json` only: the log-probability of every token.",
    )
    timestamp_granularities: list[Granularity] = Field(
        default_factory=lambda: [Granularity.SEGMENT],
        max_length=8,
        description=(
            "What `verbose_json` gives times for: `word`, `segment` or both. With both, each "
            "segment has its words as well, with their probabilities."
        ),
    )
    stream: bool = Field(
        default=False,
        description=(
            "`true`: server-sent events, text as soon as it is certain. With `json` and `text` "
            "they are OpenAI's; `verbose_json` adds an event for every segment. Not with `srt` "
            "and `vtt`."
        ),
    )
    word_timestamps: bool = Field(
        default=False,
        description=(
            "Extension, with `srt` and `vtt`. Every word's time: in `vtt` as a time tag before the "
            "word, in `srt` as a cue for each word, underlined."
        ),
    )
    hallucination_silence_threshold: float | None = Field(
        default=None,
        json_schema_extra=_no_null,
        gt=0,
        allow_inf_nan=False,
        description=(
            "Extension. Phrases of improbable words that stand between silences longer than this, "
            "in seconds, are left out, as in the reference. Default: nothing is left out."
        ),
    )
    chunking_strategy: ChunkingStrategy | None = Field(
        default=None,
        json_schema_extra=_no_null,
        description=(
            "How speech is found before it is transcribed: `auto`, or a `server_vad` object, as "
            "JSON or as fields `chunking_strategy[type]` and so on."
        ),
    )


class TranslationForm(SpeechForm):
    pass
