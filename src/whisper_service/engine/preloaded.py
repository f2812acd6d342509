"""What the engine's process needs, imported by the one that it is forked from (`engine.launch`)."""

from __future__ import annotations

import gc
from importlib import import_module

_MODULES = (
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.whisper",
    "whisper_service.engine.in_process",
    "whisper_service.engine.logits_processor_v1",
    "whisper_service.engine.worker_extension",
)

gc.disable()  # what is imported stays: looking for garbage meanwhile takes a fifth of the time
for _module in _MODULES:
    import_module(_module)
gc.freeze()  # nor is it looked through later, in pauses between the engine's steps
gc.enable()
