"""The parts of the OpenAPI document that FastAPI cannot see: the form, the formats, the errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from whisper_service.api.broken import BROKEN_AT
from whisper_service.api.errors import WIRE, error_body
from whisper_service.api.fields import LISTS
from whisper_service.api.form import SpeechForm, TranscriptionForm, TranslationForm
from whisper_service.api.keys import NO_KEY, WRONG_KEY
from whisper_service.errors import Fault
from whisper_service.formats.events import (
    TranscriptTextDelta,
    TranscriptTextDone,
    TranscriptTextSegment,
)
from whisper_service.formats.schema import TranscriptionJson, TranscriptionVerboseJson
from whisper_service.settings import Settings

Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

DESCRIPTION: Final = """
OpenAI's speech-to-text API over Whisper. Point an OpenAI SDK at `/api/v1`, or at `/v1`, where every
path of `/api/v1` is served too.

Errors have OpenAI's shape, and all four of its keys, whatever went wrong. Each answer carries an
`x-request-id`: send your own, or get one.
"""

SUPPORTED_AUDIO: Final = "flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, wav or webm"

_BODIES: Final = (
    TranscriptionJson,
    TranscriptionVerboseJson,
    TranscriptTextDelta,
    TranscriptTextSegment,
    TranscriptTextDone,
)

_REQUEST_ID: Final[Schema] = {
    "x-request-id": {
        "description": "The id of this request in the server's log.",
        "schema": {"type": "string"},
    }
}
_BROKEN_AT: Final[Schema] = {
    BROKEN_AT: {
        "description": "There only where the file could not be read to its end: the second of its "
        "audio at which it broke. The text is of what is before that, and of files appended to it.",
        "schema": {"type": "number"},
        "example": 7.02,
    }
}
_KEY_SCHEME: Final = "apiKey"
_WWW_AUTHENTICATE: Final[Schema] = {
    "www-authenticate": {
        "description": "How to send a key.",
        "schema": {"type": "string", "const": "Bearer"},
    }
}
_RETRY_AFTER: Final[Schema] = {
    "retry-after": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer"},
    }
}


class ErrorDetail(BaseModel):
    message: str = Field(description="What is wrong, and what would be right.")
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="The field that is wrong, if it is one.")
    code: str | None = Field(description="The kind of error, for programs.")


class Error(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


_EXAMPLES: Final[Mapping[Fault, tuple[str, str | None]]] = {
    Fault.INVALID_VALUE: (
        "'temperature' cannot be '2': Input should be less than or equal to 1.",
        "temperature",
    ),
    Fault.MISSING_FIELD: ("'file' is required.", "file"),
    Fault.UNKNOWN_FIELD: ("There is no field 'tempreature' here.", "tempreature"),
    Fault.UPLOAD_TOO_LARGE: (
        "The upload is larger than the limit of 26214400 bytes (25 MiB).",
        "file",
    ),
    Fault.HEADERS_TOO_LARGE: ("The request's headers are larger than 65536 bytes.", None),
    Fault.UPLOAD_TOO_SLOW: (
        "The upload did not arrive within 120 seconds, or paused for 15.",
        None,
    ),
    Fault.MODEL_NOT_FOUND: (
        "The model 'gpt-4o' is not served here: ask for 'embedded' or 'whisper-1'.",
        "model",
    ),
    Fault.OVERLOADED: ("The queue is full: try again in a few seconds.", None),
    Fault.NOT_READY: ("The service is starting: the model is being loaded.", None),
    Fault.TIMED_OUT: ("The request took longer than the limit of 1800 seconds.", None),
    Fault.INTERNAL: ("The server failed on this request.", None),
}


def error_responses(*faults: Fault) -> Responses:
    """The responses of these faults, those of one status together, each with an example."""
    responses: Responses = {}
    for fault in faults:
        wire = WIRE[fault]
        response = responses.setdefault(
            wire.status,
            {
                "model": Error,
                "description": "",
                "headers": _REQUEST_ID | (_RETRY_AFTER if wire.retry else {}),
                "content": {"application/json": {"examples": {}}},
            },
        )
        codes = filter(None, [response["description"], f"`{wire.code}`"])
        response["description"] = ", ".join(codes)
        message, param = _EXAMPLES[fault]
        examples = response["content"]["application/json"]["examples"]
        examples[wire.code] = {"value": error_body(fault, message, param)}
    return responses


def speech_responses(*, streams: bool = False) -> Responses:
    """Every answer of a transcription or a translation, in every format."""
    text = {"schema": {"type": "string"}, "examples": _TEXT_EXAMPLES}
    return {
        200: {
            "description": "The text, in the form that `response_format` names.",
            "headers": _REQUEST_ID | _BROKEN_AT,
            "content": {
                "application/json": {
                    # The one that asks for more first: generated clients take the first that fits.
                    "schema": {"anyOf": [_ref(TranscriptionVerboseJson), _ref(TranscriptionJson)]}
                },
                "text/plain": text,
                **({"text/event-stream": _STREAM} if streams else {}),
            },
        },
        **error_responses(*_EXAMPLES),
    }


_TEXT_EXAMPLES: Final[Schema] = {
    "text": {"value": "Hello, world.\n"},
    "srt": {"value": "1\n00:00:00,000 --> 00:00:03,320\nHello, world.\n"},
    "vtt": {"value": "WEBVTT\n\n00:00:00.000 --> 00:00:03.320\nHello, world.\n"},
}


_STREAM: Final[Schema] = {
    "schema": {
        "type": "string",
        "description": (
            "With `stream=true`: lines `data: ` with one JSON event each, and an empty line after "
            "each. Events are `TranscriptTextDelta`, with `verbose_json` `TranscriptTextSegment`, "
            "and at the end `TranscriptTextDone` and `data: [DONE]`; or, after a failure, an "
            "`Error`. Lines that begin with a colon keep the connection open."
        ),
    },
    "examples": {
        "json": {
            "value": (
                'data: {"type":"transcript.text.delta","delta":"Hello, world."}\n\n'
                'data: {"type":"transcript.text.done","text":"Hello, world.","usage":'
                '{"type":"tokens","input_tokens":166,"output_tokens":6,"total_tokens":172,'
                '"input_token_details":{"audio_tokens":166,"text_tokens":0}}}\n\n'
                "data: [DONE]\n\n"
            )
        }
    },
}


def form_body(form: type[SpeechForm]) -> Schema:
    """The multipart form of an operation, as `openapi_extra`."""
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": _ref(form)}},
        }
    }


def complete(document: Schema, settings: Settings) -> Schema:
    """The document that FastAPI made of the routes, with what it cannot see or has dropped."""
    schemas = document["components"]["schemas"]
    for form in (TranscriptionForm, TranslationForm):
        schemas.update(_schemas_of(form, "validation"))
        schemas[form.__name__] = _as_form(schemas[form.__name__], settings)
    for body in _BODIES:
        schemas.update(_schemas_of(body, "serialization"))
    for path in document["paths"].values():
        for operation in path.values():
            # FastAPI's own validation error, which no route of ours can answer with
            operation["responses"].pop("422", None)
            _restore_nulls(operation["responses"])
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    if settings.needs_key:
        _lock(document, settings)
    return document


def _lock(document: Schema, settings: Settings) -> None:
    """Every route that needs a key says so."""
    document["components"]["securitySchemes"] = {
        _KEY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "One of the service's API keys: `Authorization: Bearer <key>`.",
        }
    }
    refusal = {
        "description": f"`{WIRE[Fault.UNAUTHORIZED].code}`",
        "headers": _REQUEST_ID | _WWW_AUTHENTICATE,
        "content": {"application/json": {"schema": _ref(Error), "examples": _KEY_EXAMPLES}},
    }
    for path, operations in document["paths"].items():
        if path.startswith("/health/") or (path == "/metrics" and settings.public_metrics):
            continue
        for operation in operations.values():
            operation["security"] = [{_KEY_SCHEME: []}]
            operation["responses"][str(WIRE[Fault.UNAUTHORIZED].status)] = refusal


_KEY_EXAMPLES: Final[Schema] = {
    "missing": {"value": error_body(Fault.UNAUTHORIZED, NO_KEY)},
    "wrong": {"value": error_body(Fault.UNAUTHORIZED, WRONG_KEY)},
}


def _schemas_of(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> Schema:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _restore_nulls(responses: Schema) -> None:
    """FastAPI leaves out nulls, but an error without a `param` still has the key."""
    for response in responses.values():
        for content in response.get("content", {}).values():
            for example in content.get("examples", {}).values():
                if isinstance(example["value"], dict):
                    example["value"]["error"].setdefault("param", None)


def _as_form(schema: Schema, settings: Settings) -> Schema:
    """The file first, the lists as OpenAI's SDKs spell them, the limits that are settings."""
    fields = {
        f"{name}[]" if name in LISTS else name: value
        for name, value in schema["properties"].items()
    }
    file = {
        "type": "string",
        "format": "binary",
        "description": (
            f"The recording: {SUPPORTED_AUDIO}, of at most {settings.max_upload_bytes} bytes and "
            f"{settings.max_audio_seconds:g} seconds."
        ),
    }
    fields["prompt"]["maxLength"] = settings.max_prompt_chars
    return {
        **schema,
        "properties": {"file": file, **fields},
        "required": ["file", *schema["required"]],
    }


def _ref(model: type[BaseModel]) -> Schema:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
