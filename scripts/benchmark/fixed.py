"""Windows through the service's engine, all of the same number of tokens, whatever they say."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import numpy as np

from whisper_service.domain import SAMPLE_RATE, Samples
from whisper_service.engine.decoding_rules import Carriers
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.logprobs import requested_tokens
from whisper_service.engine.parameters import RuleParameters
from whisper_service.whisper.vocabulary import Vocabulary

RULES = {"extra_args": RuleParameters().as_extra_args()}


def rules_and_logprobs(vocabulary: Vocabulary) -> dict[str, Any]:
    """As the service asks: the numbers that it needs come with each token."""
    wanted = requested_tokens(Carriers.of(vocabulary))
    return {**RULES, "logprob_token_ids": wanted, "flat_logprobs": True}


class FixedWindows:
    """Past the service's own requests, on its engine."""

    def __init__(
        self,
        engine: WhisperEngine,
        vocabulary: Vocabulary,
        tokens: int,
        speech: Samples | None = None,
    ) -> None:
        """`speech`: float32[n], at most 30 s; without it, noise."""
        self._llm = engine._llm  # noqa: SLF001
        self._vocabulary = vocabulary
        self._tokens = tokens
        noise = np.random.default_rng(0).normal(0, 0.1, 30 * SAMPLE_RATE).astype(np.float32)
        self._speech = noise if speech is None else speech
        self._count = 0

    def another(self) -> Samples:
        """The same speech, but another window to any cache."""
        self._count += 1
        quiet = np.float32(1e-4 * np.sin(self._count))
        return np.asarray(self._speech + quiet, dtype=np.float32)

    async def run(self, number: int, **options: Any) -> float:
        """So many at once; seconds. By default as the service asks, under the rules."""
        options = options or rules_and_logprobs(self._vocabulary)
        windows = [self.another() for _ in range(number)]
        began = time.perf_counter()
        await asyncio.gather(*(self.one(each, **options) for each in windows))
        return time.perf_counter() - began

    async def one(self, samples: Samples, **options: Any) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=0,
            max_tokens=self._tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **options,
        )
        audio = {"prompt": "", "multi_modal_data": {"audio": (samples, SAMPLE_RATE)}}
        start = [self._vocabulary.start_of_transcript]
        inputs = {"encoder_prompt": audio, "decoder_prompt": {"prompt_token_ids": start}}
        async for _ in self._llm.generate(inputs, parameters, request_id=uuid.uuid4().hex):
            pass
