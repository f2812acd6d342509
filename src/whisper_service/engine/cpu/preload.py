"""What the engine's process needs, imported by the one that it is forked from (`cpu.launcher`)."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from whisper_service.engine.launcher import lasting_imports

_MODULES = (
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
    "whisper_service.engine.cpu.scheduler",
    "whisper_service.engine.cpu.executor",
    "whisper_service.engine.logits_processor_v1",
    "whisper_service.engine.worker.extension",
    "whisper_service.engine.worker.model",
)

# A process's title has room only where nothing has changed its environment before this.
with suppress(ImportError):
    import_module("setproctitle").getproctitle()

with lasting_imports():
    for _module in _MODULES:
        import_module(_module)
