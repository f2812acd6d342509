"""`whisper-service models`: what is here, what can be had, whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from whisper_service.cli.console import ExitCode, err, give_up, out, paragraphs
from whisper_service.settings import WrongSettingsError, load_settings

models = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Name = Annotated[str, typer.Argument(help="`embedded`, `embedded:tiny.en`, a folder, or a hub id.")]


def _cache_dir() -> Path:
    try:
        return load_settings().cache_dir
    except WrongSettingsError as error:
        raise give_up(str(error), ExitCode.USAGE) from None


@models.command("list")
def list_models() -> None:
    """What can be served without a download, and what the hub's cache has."""
    from whisper_service.checkpoints.embedded import MODELS, prepared_folder

    table = Table("name", "model", "state", box=None, pad_edge=False)
    table.add_column("where", overflow="fold")
    for name, model in MODELS.items():
        folder = prepared_folder(name, _cache_dir())
        state = "ready" if folder.is_dir() else "is prepared when first used"
        table.add_row(name, model.name, state, escape(str(folder)) if folder.is_dir() else "")
    for name, folder in _in_hub_cache():
        table.add_row(escape(name), escape(name), "in the hub's cache", escape(str(folder)))
    out.print(table)


def _in_hub_cache() -> list[tuple[str, Path]]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = [(each.repo_id, each.repo_path) for each in repos if each.repo_type == "model"]
    return sorted((name, path) for name, path in found if "whisper" in name.lower())


PULL_HELP = """
Fetch a model now, so that the first start need not.

[bold]Examples[/]

whisper-service models pull

whisper-service models pull openai/whisper-large-v3-turbo
"""


@models.command(help=paragraphs(PULL_HELP))
def pull(name: Name = "embedded") -> None:
    from whisper_service.checkpoints.checkpoint import read_checkpoint
    from whisper_service.checkpoints.embedded import MODELS, EmbeddedModelError
    from whisper_service.checkpoints.resolve import resolve_model
    from whisper_service.logs import configure_logging
    from whisper_service.whisper.vocabulary import UnsuitableCheckpointError

    if Path(name).is_dir():
        raise give_up(f"{name} is a folder: there is nothing to fetch", ExitCode.USAGE)
    configure_logging("info")
    try:
        folder = resolve_model(name, _cache_dir())
        if name not in MODELS:
            from huggingface_hub import snapshot_download

            with err.status(f"fetching {escape(name)}"):
                folder = snapshot_download(
                    name, allow_patterns=["*.json", "*.txt", "*.safetensors"]
                )
        read_checkpoint(folder)
    except (EmbeddedModelError, UnsuitableCheckpointError) as error:
        raise give_up(str(error), ExitCode.FAILED) from None
    except (OSError, ValueError) as error:  # the hub's errors are one or the other
        raise give_up(f"{name} cannot be had: {error}", ExitCode.UNAVAILABLE) from None
    out.print(escape(str(folder)))


@models.command()
def verify(name: Name = "embedded") -> None:
    """Whether a model is here, whole, and a Whisper."""
    from whisper_service.checkpoints.checkpoint import read_checkpoint
    from whisper_service.checkpoints.embedded import MODELS, is_intact, prepared_folder
    from whisper_service.checkpoints.weights import BrokenWeightsError, check_weights
    from whisper_service.whisper.vocabulary import UnsuitableCheckpointError

    if name in MODELS:
        folder = prepared_folder(name, _cache_dir())
        if not folder.is_dir():
            raise give_up(f"{name} is not here: `models pull {name}`", ExitCode.FAILED)
        if not is_intact(folder):
            raise give_up(f"{folder} is broken: `models pull {name}` mends it", ExitCode.FAILED)
    else:
        folder = _local_folder(name)
    try:
        read_checkpoint(str(folder))
        tensors = check_weights(folder)
    except (UnsuitableCheckpointError, BrokenWeightsError, OSError, ValueError) as error:
        raise give_up(str(error), ExitCode.FAILED) from None
    out.print(escape(f"{folder}: whole, {tensors} tensors"))


def _local_folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise give_up(f"{name} is not here: {error}", ExitCode.FAILED) from None
