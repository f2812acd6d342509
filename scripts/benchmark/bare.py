"""The engine of vLLM by itself: the ceiling of what any server around it can reach."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from whisper_service.domain import SAMPLE_RATE, Samples, Task
from whisper_service.engine.engine import WhisperEngine
from whisper_service.resolve import resolve_engine
from whisper_service.settings import load_settings
from whisper_service.whisper.tokenizer import TextTokenizer

_NEW_TOKENS = 224


class BareEngine:
    """The service's engine arguments, without what it adds to vLLM: rules, model, extension,
    scheduler.
    """

    def __init__(
        self, engine: WhisperEngine, prompt: list[int], end: int, tokenizer: TextTokenizer
    ) -> None:
        self._engine = engine
        self._end = end
        self._llm = engine._llm  # noqa: SLF001  # past the service's own requests
        self._prompt = prompt
        self._tokenizer = tokenizer

    @classmethod
    async def start(cls, options: dict[str, Any]) -> BareEngine:
        """`options` are engine arguments that replace the profile's."""
        settings = load_settings()
        overrides = {
            "logits_processors": [],
            "worker_extension_cls": "",
            "scheduler_cls": None,
            "hf_overrides": {"architectures": ["WhisperForConditionalGeneration"]},
            **options,
        }
        resolved = resolve_engine(settings, overrides)
        vocabulary, engine = resolved.checkpoint.vocabulary, resolved.engine()
        await asyncio.to_thread(engine._build)  # noqa: SLF001
        prompt = [vocabulary.start_of_transcript]
        if vocabulary.is_multilingual:
            prompt += [vocabulary.languages["en"], vocabulary.task_token(Task.TRANSCRIBE)]
        return cls(engine, prompt, vocabulary.end_of_text, resolved.checkpoint.tokenizer)

    async def transcribe(self, windows: list[Samples]) -> list[str]:
        """All at once, each at most 30 s."""
        return list(await asyncio.gather(*(self._one(each) for each in windows)))

    async def _one(self, samples: Samples) -> str:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=0,
            max_tokens=_NEW_TOKENS,
            stop_token_ids=[self._end],
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        audio = {"prompt": "", "multi_modal_data": {"audio": (samples, SAMPLE_RATE)}}
        inputs = {"encoder_prompt": audio, "decoder_prompt": {"prompt_token_ids": self._prompt}}
        stream = self._llm.generate(inputs, parameters, request_id=uuid.uuid4().hex)
        tokens = [result.outputs[0].token_ids async for result in stream][-1]
        return self._tokenizer.decode(tokens)
