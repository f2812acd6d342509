"""Registers this service's model class with vLLM, in every process that vLLM starts.

vLLM calls `register` because pyproject.toml names it as an entry point of the group
`vllm.general_plugins`. It only adds a name: no model that vLLM knows is replaced, so a vLLM that
runs for another purpose on the same installation is not changed.
"""

from __future__ import annotations

import os

PLUGIN = "whisper_service"  # the entry point's name, for `VLLM_PLUGINS`
ARCHITECTURE = "WhisperServiceForConditionalGeneration"
_MODULE = "whisper_service.engine.worker.model"


class PluginNotLoadedError(RuntimeError):
    """vLLM does not know this service's model class; the message says what to change."""


def register() -> None:
    """Adds the class by its name: it is imported only where it is used. Safe to call again."""
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, f"{_MODULE}:{ARCHITECTURE}")


def register_class() -> None:
    """In the service's process: the class itself, so that vLLM need not look at it in a new one.

    Raises:
        PluginNotLoadedError: vLLM's processes would not find the class.
    """
    from vllm import ModelRegistry
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        raise PluginNotLoadedError(_what_to_change(os.environ.get("VLLM_PLUGINS")))
    from whisper_service.engine.worker.model import WhisperServiceForConditionalGeneration

    ModelRegistry.register_model(ARCHITECTURE, WhisperServiceForConditionalGeneration)


def _what_to_change(allowed: str | None) -> str:
    if allowed is not None and PLUGIN not in allowed.split(","):
        return (
            f"VLLM_PLUGINS={allowed} leaves out the plugin `{PLUGIN}`, which holds this service's "
            f"model class. Add `{PLUGIN}` to VLLM_PLUGINS, or unset it."
        )
    return (
        f"vLLM did not find the plugin `{PLUGIN}`, which holds this service's model class. Install "
        "the package again (`pip install .`): its entry points are missing."
    )
