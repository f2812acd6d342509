"""The reference pages of the documentation, written from the code when the site is built.

A hook of MkDocs: the settings out of their class, the API out of the OpenAPI document, the commands
out of the command line itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from whisper_service.cli.serve import option_name
from whisper_service.cli.setting_groups import default_of, grouped_settings
from whisper_service.settings import Settings, variable

Schema = Mapping[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that no file of `docs/` holds."""
    for name, lines in {
        "settings": settings_page(),
        "api": api_page(openapi_document()),
        "commands": commands_page(),
    }.items():
        uri = f"reference/{name}.md"
        files.append(File.generated(config, uri, content="\n".join(lines) + "\n"))
    return files


def settings_page() -> Iterator[str]:
    yield "# Settings\n"
    yield (
        "Each is an environment variable, a line of `.env`, or an option of "
        "`whisper-service serve`. An option counts more than a variable, a variable more than "
        "the file; an empty variable is one that is not set."
    )
    last = ""
    for group, name, field in grouped_settings():
        if group != last:
            yield f"\n## {group}\n"
            yield "| variable | option | default | |\n| --- | --- | --- | --- |"
            last = group
        default = default_of(field)
        yield _row(
            f"`{variable(name)}`",
            f"`{option_name(name)}`",
            f"`{default}`" if default else "",
            field.description or "",
        )


def openapi_document() -> dict[str, Any]:
    from whisper_service.api.app import create_app

    # The document depends on the settings alone; nothing is asked of the transcriber.
    return create_app(Settings(_env_file=None), cast(Any, None)).openapi()  # type: ignore[call-arg]


def api_page(document: Schema) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    yield "# API\n"
    yield document["info"]["description"].strip()
    yield (
        "\nA running service describes itself at `/docs`, where it can be tried too, and at "
        "`/openapi.json`."
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation, schemas)
    yield "\n## Bodies\n"
    for name, schema in schemas.items():
        if schema.get("type") == "object" and not name.endswith("Form"):
            yield f"\n### {name}\n"
            yield schema.get("description", "") + "\n"
            yield from _fields(schema, schemas)


def _operation(title: str, operation: Schema, schemas: Schema) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield f"{operation['summary']}.\n"
    body = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if body:
        yield "A multipart form:\n"
        yield from _fields(_resolve(body["schema"], schemas), schemas)
    yield "\n| status | |\n| --- | --- |"
    for status, response in operation["responses"].items():
        yield _row(status, _response(response))


def _response(response: Schema) -> str:
    names = []
    for media_type, content in response.get("content", {}).items():
        kinds = list(_references(content.get("schema", {})))
        links = ", ".join(f"[{kind}](#{kind.lower()})" for kind in kinds)
        names.append(f"`{media_type}`" + (f": {links}" if links else ""))
    text = response.get("description", "")
    return " ".join(filter(None, [text, "(" + "; ".join(names) + ")" if names else ""]))


def _references(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2]
    for each in schema.get("anyOf", ()):
        yield from _references(each)


def _fields(schema: Schema, schemas: Schema) -> Iterator[str]:
    yield "| field | type | default | |\n| --- | --- | --- | --- |"
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required and "default" not in field else ""
        if "default" in field:
            empty = field["default"] in ("", [])
            default = "" if empty else f"`{json.dumps(field['default'])}`"
        yield _row(f"`{name}`", _type(field, schemas), default, field.get("description", ""))


def _type(field: Schema, schemas: Schema) -> str:
    if "$ref" in field:
        name = str(field["$ref"].rpartition("/")[2])
        if "enum" in schemas[name]:
            return _type(schemas[name], schemas)
        return f"[{name}](#{name.lower()})"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    alternatives = field.get("anyOf") or field.get("oneOf") or ()
    if alternatives:
        return " or ".join(_type(each, schemas) for each in alternatives)
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), schemas)}"
    if field.get("format") == "binary":
        return "file"
    bounds = [
        f"{sign} {field[name]}"
        for name, sign in (
            ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"),
            ("maxLength", "length ≤"),
        )
        if name in field
    ]  # fmt: skip
    return " ".join([str(field.get("type", "any")), *bounds])


def _resolve(schema: Schema, schemas: Schema) -> Schema:
    return cast(Schema, schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema)


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> Iterator[str]:
    os.environ.update({"TERM": "dumb", "COLUMNS": "96"})  # read when the commands are imported
    from typer.main import get_command
    from typer.testing import CliRunner

    from whisper_service.cli.app import app

    yield "# Commands\n"
    yield "What `whisper-service … --help` says. [What they are for](../command-line.md)."
    group = cast(Any, get_command(app))
    for words in _commands(group):
        title = " ".join(("whisper-service", *words))
        yield f"\n## {title}\n"
        shown = CliRunner().invoke(app, [*words, "--help"], prog_name="whisper-service")
        lines = (line.rstrip() for line in shown.output.strip("\n").splitlines())
        yield "```text\n" + "\n".join(lines).strip() + "\n```"


def _commands(group: Any, words: Iterable[str] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name)
