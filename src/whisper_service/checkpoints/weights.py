"""Whether a checkpoint's weights are whole: read without loading them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"


class BrokenWeightsError(ValueError):
    """A file of weights is missing or cut off."""


def check_weights(folder: Path) -> int:
    """The number of tensors. A safetensors file says in its header how long it must be.

    Raises:
        BrokenWeightsError: a file is not there, is cut off, or lacks a tensor that it should have.
    """
    index = folder / _INDEX
    if index.is_file():
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
        tensors = {name for file in set(places.values()) for name in _names(folder / file)}
        if missing := places.keys() - tensors:
            raise BrokenWeightsError(f"{folder} lacks {min(missing)} and {len(missing) - 1} others")
        return len(tensors)
    return len(_names(folder / _WHOLE))


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="numpy") as tensors:
            return list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise BrokenWeightsError(f"{file}: {error}") from error
