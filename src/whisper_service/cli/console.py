"""Where the commands write, and what their exit codes mean."""

from __future__ import annotations

from enum import IntEnum

import typer
from rich.console import Console

# Transcripts, tables and JSON go to stdout; all that is said about the work, to stderr.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1  # of several files, some
    USAGE = 2  # also: a wrong setting
    UNAVAILABLE = 3  # no service there, or it does not let us in, or no engine could be started
    INTERRUPTED = 130  # by Ctrl-C, as shells count it


EXIT_CODES_HELP = (
    "Exit codes: 0 all is well; 1 some of it failed; 2 a wrong option or setting; 3 the service "
    "cannot be reached, refuses the key, or could not be started; 130 interrupted."
)


def paragraphs(text: str) -> str:
    """A help text whose paragraphs are wrapped by the terminal, not by our source's lines."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def give_up(message: str, code: ExitCode) -> typer.Exit:
    """Says why, and is raised by the caller."""
    err.print(f"[red]whisper-service:[/] {_plain(message)}")
    return typer.Exit(code)


def _plain(text: str) -> str:
    """Brackets of a message are text, not Rich's markup."""
    return text.replace("[", r"\[")
