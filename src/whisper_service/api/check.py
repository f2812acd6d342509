"""A form's fields are checked; the first that is wrong is explained."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from whisper_service.api.fields import Value
from whisper_service.api.form import ServerVad, SpeechForm
from whisper_service.api.refusals import FILE_FIELD, invalid, missing, shorten
from whisper_service.errors import Fault, ServiceError
from whisper_service.formats.response_format import ResponseFormat

FormModel = TypeVar("FormModel", bound=SpeechForm)


def check_form(model: type[FormModel], gathered: dict[str, Value]) -> FormModel:
    """The form's fields as what they mean.

    Raises:
        ServiceError: naming the first field that is wrong, and what would be right.
    """
    if gathered.get("response_format") == "diarized_json":
        raise ServiceError(
            Fault.UNSUPPORTED_VALUE,
            "'diarized_json' is not supported: Whisper does not tell speakers apart. "
            f"The formats are {', '.join(ResponseFormat)}.",
            "response_format",
        )
    try:
        return model.model_validate(gathered)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0], model) from None


def _explain(details: ErrorDetails, model: type[SpeechForm]) -> ServiceError:
    param = _param(details["loc"])
    match details["type"]:
        case "missing":
            return missing(param)
        case "extra_forbidden":
            inside = len(details["loc"]) > 1
            known = ServerVad.model_fields if inside else [FILE_FIELD, *model.model_fields]
            shown = shorten(param)
            return ServiceError(
                Fault.UNKNOWN_FIELD,
                f"There is no field {shown!r} here; there are {', '.join(known)}.",
                shown,
            )
    hint = details["msg"].removeprefix("Value error, ")
    return invalid(param, f"cannot be {_show(details['input'])}: {hint}.")


def _param(location: tuple[int | str, ...]) -> str:
    """`chunking_strategy[threshold]`; a list's position and a union's tag name nothing sent."""
    name, *rest = (part for part in location if isinstance(part, str))
    return name + "".join(f"[{key}]" for key in rest if key not in {"auto", "server_vad"})


def _show(value: object) -> str:
    # Quoted, so that it cannot be taken for the message's own words.
    return shorten(repr(value)) if isinstance(value, str | int | float) else "this"
