"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from whisper_service import __version__
from whisper_service.cli.bench import BENCH_HELP, bench
from whisper_service.cli.console import EXIT_CODES_HELP, paragraphs
from whisper_service.cli.doctor import doctor
from whisper_service.cli.models import models
from whisper_service.cli.serve import SERVE_HELP, serve
from whisper_service.cli.transcribe import TRANSCRIBE_HELP, transcribe

app = typer.Typer(
    name="whisper-service",
    help="Speech to text: OpenAI's transcription API with Whisper on one vLLM engine.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # they may hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(help=paragraphs(SERVE_HELP))(serve)
app.command(help=paragraphs(TRANSCRIBE_HELP), epilog=EXIT_CODES_HELP)(transcribe)
app.add_typer(models, name="models", help="The models that are here, and those that can be had.")
app.command()(doctor)
app.command(help=paragraphs(BENCH_HELP), epilog=EXIT_CODES_HELP)(bench)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"whisper-service {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None: ...


def main() -> None:
    app(prog_name="whisper-service")


if __name__ == "__main__":
    main()
