"""What the service itself reads of a checkpoint: its configuration and its tokenizer."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from whisper_service.checkpoints.merges import with_missing_merges
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import (
    UnsuitableCheckpointError,
    Vocabulary,
    read_vocabulary,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is read.

    kv_values: numbers that the decoder keeps for a position: a key and a value in each layer.
    alignment_heads: layer and head of those that look at what is being said; empty: unknown.
    """

    vocabulary: Vocabulary
    tokenizer: TextTokenizer
    kv_values: int
    alignment_heads: tuple[tuple[int, int], ...] = ()


def read_checkpoint(model: str) -> Checkpoint:
    """Reads a folder, or the small files of a hub id.

    Raises:
        UnsuitableCheckpointError: it cannot be had, cannot be read, or is no Whisper checkpoint.
    """
    folder = _folder(model)
    config = _read(folder / "config.json")
    if config.get("model_type") != "whisper":
        raise UnsuitableCheckpointError(
            f"{model} is a {config.get('model_type', 'model without config.json')!s}, not a Whisper"
        )
    tokenizer = _tokenizer(folder)
    generation = _read(folder / "generation_config.json")
    vocabulary = read_vocabulary(tokenizer, config, generation)
    # Transformers' own defaults where the configuration is silent.
    layers = int(config.get("decoder_layers", 4))
    kv_values = 2 * int(config.get("d_model", 384)) * layers
    heads = _alignment_heads(generation, layers, int(config.get("decoder_attention_heads", 6)))
    return Checkpoint(vocabulary, TextTokenizer(tokenizer, vocabulary), kv_values, heads)


def _alignment_heads(
    generation: dict[str, Any], layers: int, heads: int
) -> tuple[tuple[int, int], ...]:
    """Those that are named and exist: a fine-tune may carry the list of another size."""
    given = generation.get("alignment_heads") or []
    try:
        named = {(int(layer), int(head)) for layer, head in given}
    except (TypeError, ValueError):
        named = set()
    known = {(layer, head) for layer, head in named if layer in range(layers)}
    kept = tuple(sorted((layer, head) for layer, head in known if head in range(heads)))
    if given and len(kept) < len(given):
        logger.warning("the checkpoint's alignment heads are not all its own: some are left out")
    return kept


def _folder(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.txt"]))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise UnsuitableCheckpointError(
            f"{model} is no folder here, and as a hub id it cannot be had: {error}"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UnsuitableCheckpointError(f"{path} cannot be read as JSON: {error}") from error


def _tokenizer(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    if file.is_file():
        written = file.read_text(encoding="utf-8")
    else:
        # Older fine-tunes carry vocab.json and merges.txt only; Transformers builds the rest.
        from transformers import AutoTokenizer

        written = AutoTokenizer.from_pretrained(folder).backend_tokenizer.to_str()
    try:
        return Tokenizer.from_str(with_missing_merges(written))
    except ValueError as error:
        raise UnsuitableCheckpointError(f"{file} cannot be read as JSON: {error}") from error
