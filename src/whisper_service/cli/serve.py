"""`whisper-service serve`: every setting is an option, made from the settings class."""

from __future__ import annotations

import inspect
import os
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from whisper_service.cli.console import ExitCode, give_up
from whisper_service.cli.setting_groups import default_of, grouped_settings
from whisper_service.cli.start import start_service
from whisper_service.settings import WrongSettingsError, load_settings, variable

SERVE_HELP = """
Serve the OpenAI transcription API until told to stop.

Every option is also an environment variable or a line of `.env`: `--max-upload-bytes` is
WHISPER_MAX_UPLOAD_BYTES. An option counts more than a variable, a variable more than the file.
Other users of the machine can see a command's options: give keys by variable or file.

[bold]Examples[/]

whisper-service serve

whisper-service serve --port 9000 --model openai/whisper-large-v3-turbo

whisper-service serve --api-keys-file /run/secrets/keys --no-playground
"""


def option_name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def serve(**given: str | bool | None) -> None:
    options = {name: value for name, value in given.items() if value is not None}
    for name, value in options.items():
        if value == "":
            # An empty variable is one that is not set: the option would not do what it says.
            raise typer.BadParameter("is empty", param_hint=option_name(name))
        os.environ[variable(name)] = str(value)
    try:
        settings = load_settings()
    except WrongSettingsError as error:
        raise give_up(
            f"cannot start:\n{_as_options(str(error), options)}", ExitCode.USAGE
        ) from None
    raise typer.Exit(start_service(settings))


def _as_options(message: str, options: dict[str, str | bool]) -> str:
    """A wrong value is told by the name under which it was given."""
    for name in options:
        message = message.replace(f"{variable(name)}:", f"{option_name(name)}:")
    return message


def _parameter(group: str, name: str, field: FieldInfo) -> inspect.Parameter:
    flag = option_name(name)
    is_switch = field.annotation is bool
    default = default_of(field)
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if is_switch else flag,
        help=f"{field.description}" + (f" Default: {default}." if default else ""),
        rich_help_panel=group,
        show_default=False,  # Typer's knows None only
        metavar=None if is_switch else _metavar(field),
    )
    kind: Any = Annotated[(bool if is_switch else str) | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _metavar(field: FieldInfo) -> str:
    words = {
        "int": "NUMBER", "float": "NUMBER", "Path": "PATH", "dict": "JSON", "tuple": "LIST",
        "Literal": "NAME",
    }  # fmt: skip
    kind = str(field.annotation)
    return next((word for name, word in words.items() if name in kind), "TEXT")


def _signature() -> inspect.Signature:
    return inspect.Signature([_parameter(*each) for each in grouped_settings()])


# Typer reads options from a function's signature: this one is the settings class's.
serve.__signature__ = _signature()  # type: ignore[attr-defined]
serve.__annotations__ = {
    name: parameter.annotation for name, parameter in _signature().parameters.items()
} | {"return": None}
