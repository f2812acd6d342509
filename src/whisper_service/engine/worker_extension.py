"""Methods that vLLM mixes into its worker, beside the loaded model.

They are called through `AsyncLLM.collective_rpc`, between two steps of the engine.
"""

from __future__ import annotations

from typing import Any

from whisper_service.engine.encoder_cache import EncoderCache


class WhisperWorkerExtension:
    model_runner: Any  # the worker's own
    _whisper_encoder_cache: EncoderCache | None = None

    def whisper_keep_encoder_outputs(self, windows: int) -> None:
        """Keeps the encoder's outputs of the latest `windows` windows."""
        model = self.model_runner.model
        cache = EncoderCache(type(model).embed_multimodal.__get__(model), windows)
        model.embed_multimodal = cache.embed_multimodal
        self._whisper_encoder_cache = cache

    def whisper_encoder_cache_counts(self) -> dict[str, int]:
        cache = self._whisper_encoder_cache
        return {"hits": cache.hits, "misses": cache.misses} if cache else {"hits": 0, "misses": 0}

    def whisper_attention_backends(self) -> list[str]:
        """The attention backends that the model's layers really use."""
        layers = self.model_runner.vllm_config.compilation_config.static_forward_context.values()
        backends = (getattr(layer, "attn_backend", None) for layer in layers)
        return sorted({backend.get_name() for backend in backends if backend is not None})
