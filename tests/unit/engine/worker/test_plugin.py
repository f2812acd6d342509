from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from whisper_service.engine.worker import plugin
from whisper_service.engine.worker.plugin import ARCHITECTURE, PLUGIN

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports


def test_the_package_names_the_plugin_to_vllm() -> None:
    (found,) = entry_points(group="vllm.general_plugins", name=PLUGIN)
    assert found.load() is plugin.register


@pytest.mark.slow
def test_loading_it_changes_no_model_that_vllm_knows_and_imports_none() -> None:
    """In a process of its own, as the benchmark's `vllm serve` is."""
    code = f"""
import sys
from vllm import ModelRegistry
before = dict(ModelRegistry.models)
from vllm.plugins import load_general_plugins
load_general_plugins()
after = dict(ModelRegistry.models)
mine = after.pop({ARCHITECTURE!r})
assert after == before
assert mine.module_name == "whisper_service.engine.worker.model"
loaded = {{name for name in sys.modules if name.startswith("whisper_service.")}}
assert "whisper_service.engine.worker.model" not in loaded, loaded
assert "vllm.model_executor.models.whisper" not in sys.modules
from vllm.model_executor.models import whisper
assert whisper.WhisperMultiModalProcessor.skip_decoder_start_token is False
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


@pytest.mark.parametrize(
    ("allowed", "says"),
    [
        ("lora_filesystem_resolver", "Add `whisper_service` to VLLM_PLUGINS"),
        ("", "Add `whisper_service` to VLLM_PLUGINS"),
        (None, "Install the package again"),
        ("other,whisper_service", "Install the package again"),
    ],
)
def test_a_plugin_that_vllm_did_not_load_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None, says: str
) -> None:
    from vllm import ModelRegistry, plugins

    monkeypatch.setattr(plugins, "load_general_plugins", lambda: None)
    monkeypatch.setattr(type(ModelRegistry), "get_supported_archs", lambda _: {"Other"})
    if allowed is None:
        monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("VLLM_PLUGINS", allowed)
    with pytest.raises(plugin.PluginNotLoadedError, match=says):
        plugin.register_class()
