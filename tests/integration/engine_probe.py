"""What a test asks vLLM's worker: mixed into it in place of the service's extension."""

from __future__ import annotations

import sys

from whisper_service.engine.worker.extension import WhisperWorkerExtension


class EngineProbe(WhisperWorkerExtension):
    def probe_encoded_windows(self) -> int:
        """Windows that the encoder has run for since the start."""
        return int(self._whisper_model.encoder_cache.encoded)

    def probe_cpu_modules(self) -> list[str]:
        """Modules of this process that only a CPU needs."""
        return sorted(name for name in sys.modules if name.startswith("whisper_service.engine.cpu"))
