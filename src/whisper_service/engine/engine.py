"""The one AsyncLLMEngine of the process, spoken to in Whisper's terms."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_service.domain import ENCODER_POSITIONS_PER_SECOND, SAMPLE_RATE, Samples, Task
from whisper_service.engine.aligner import Aligner, AlignmentError, AlignmentRequest
from whisper_service.engine.decoding_rules import NO_TOKEN, Carriers
from whisper_service.engine.launcher import Launcher, Replaced, WorkerSetup
from whisper_service.engine.logprobs import (
    FirstStep,
    first_step,
    language_distribution,
    requested_tokens,
    token_logprobs,
)
from whisper_service.engine.parameters import (
    ModelOptions,
    RuleParameters,
    WindowName,
    vocabulary_config,
)
from whisper_service.engine.profiles import POSITIONS, Profile
from whisper_service.engine.ranks import EngineRanks
from whisper_service.engine.requests import (
    Decoding,
    DecodingRequest,
    EngineFacts,
    LanguageEvidence,
)
from whisper_service.engine.worker.plugin import ARCHITECTURE
from whisper_service.errors import ENGINE_DIED, Fault, ServiceError
from whisper_service.whisper.prompt import decoder_prompt, max_new_tokens
from whisper_service.whisper.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_RULES = "whisper_service.engine.logits_processor_{}:WhisperLogitsProcessor"
_EXTENSION = "whisper_service.engine.worker.extension.WhisperWorkerExtension"
# A pattern of at most 24 tokens that comes 24 times in a row is taken for a loop of the decoder's.
# Somebody may say a word that often, but not in a window of 3 s, down to which the service splits.
_LOOP_PATTERN, _LOOP_COUNT = 24, 24
_WATCH_SECONDS = 1.0  # between two looks at whether the engine still lives, in a call


class WhisperEngine:
    """Start it once, decode many windows at the same time, stop it once."""

    def __init__(
        self,
        model: str,
        vocabulary: Vocabulary,
        profile: Profile,
        *,
        overrides: Mapping[str, Any] | None = None,
        launcher: Launcher | None = None,
        encoder_cache_windows: int = 0,
        alignment_heads: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._carriers = Carriers.of(vocabulary)
        self._profile = profile
        self._overrides = dict(overrides or {})
        self._launcher = launcher or Launcher(profile, overrides)
        heads = tuple((int(layer), int(head)) for layer, head in alignment_heads)
        self._model_options = ModelOptions(encoder_cache_windows, heads)
        self._engines = int(self.engine_arguments().get("data_parallel_size", 1))
        self._ranks = EngineRanks(self._engines, self._engines * encoder_cache_windows)
        self._aligner = Aligner(self._call, self._alignment_prompt, self._encode)
        self._llm: Any = None

    async def start(self) -> EngineFacts:
        """Builds the engine and warms every path up. Takes half a minute or more.

        Raises:
            ValueError: an engine argument is unknown or wrong.
        """
        if self._llm is not None:
            raise RuntimeError("the engine is already started")
        began = time.perf_counter()
        # In a thread: the health routes answer meanwhile.
        building = asyncio.ensure_future(asyncio.to_thread(self._build))
        try:
            await asyncio.shield(building)
        except asyncio.CancelledError:
            await building  # vLLM cannot be stopped half built: `stop` will end it
            raise
        built = time.perf_counter()
        try:
            setup = await asyncio.to_thread(self._launcher.wait)
        except asyncio.CancelledError:
            self._launcher.stop()  # else the thread would go on waiting
            raise
        facts = await self._describe(await self._set_up(setup))
        await self._warm_up()
        warm = time.perf_counter()
        logger.info("engine built in %.1f s, warmed up in %.1f s", built - began, warm - built)
        logger.info("engine: %s", facts)
        return facts

    def engine_arguments(self) -> dict[str, Any]:
        """The arguments of `AsyncEngineArgs`, the operator's overrides applied."""
        runner = "v1" if _forces_v1_runner() else self._profile.model_runner
        return {
            "model": self._model,
            **self._profile.engine_args,
            **self._launcher.arguments(),
            "logits_processors": [_RULES.format(runner)],
            "worker_extension_cls": _EXTENSION,
            "additional_config": {
                **vocabulary_config(self._vocabulary),
                **self._model_options.as_config(),
            },
            **self._overrides,
            "hf_overrides": {
                "architectures": [ARCHITECTURE],
                **self._profile.engine_args.get("hf_overrides", {}),
                **self._overrides.get("hf_overrides", {}),
            },
        }

    def _build(self) -> None:
        # Not returned: the thread's future would keep the engine alive beyond its end.
        self._llm = self._launcher.build(self.engine_arguments())

    async def _set_up(self, setup: WorkerSetup | None) -> Replaced:
        if setup is None:
            return Replaced()
        done = await self._call("whisper_set_up", setup.function, [*setup.arguments])
        replaced = Replaced(**done[0])
        for warning in replaced.warnings:
            logger.warning("%s", warning)
        logger.debug("own kernels compared with vLLM's in %.2f s", replaced.check_seconds)
        return replaced

    async def _describe(self, replaced: Replaced) -> EngineFacts:
        config = self._llm.vllm_config
        (model_class, backends), *_ = await self._call("whisper_describe_model")
        return EngineFacts(
            model=str(config.model_config.served_model_name or config.model_config.model),
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            kv_cache_dtype=str(config.cache_config.cache_dtype),
            attention_backend="+".join(backends) or "unknown",
            compilation=_enum_name(config.compilation_config.mode),
            cudagraphs=_enum_name(config.compilation_config.cudagraph_mode),
            max_windows=int(config.scheduler_config.max_num_seqs) * self._engines,
            engines=self._engines,
            model_class=model_class,
            own_kernels="+".join(replaced.in_use) or "none",
        )

    async def _warm_up(self) -> None:
        """Runs all that compiles something once: decoding, greedy and sampled, and alignment.

        Each engine gets as many requests of a kind: they are handed out in turn. Where nothing is
        compiled, one run of both kinds does.
        """
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        compiles = os.environ.get("TORCH_COMPILE_DISABLE") != "1"
        for temperatures in ((0.0,), (0.4,), (0.0, 0.4)) if compiles else ((0.0, 0.4),):
            requests = [
                DecodingRequest(noise, temperature=each)
                for each in temperatures
                for _ in range(self._engines)
            ]
            await asyncio.gather(*(self._decode(each, max_tokens=8) for each in requests))
        await asyncio.gather(*(self._warm_up_words(noise) for _ in range(self._engines)))

    async def _warm_up_words(self, noise: Samples) -> None:
        kept = DecodingRequest(noise, keep=True)
        language = (await self._decode(kept, max_tokens=8)).language
        text = (self._vocabulary.suppressed_at_begin[0],) * 8
        await self.align(AlignmentRequest(kept.key, noise, language, kept.task, text))

    async def decode(
        self, request: DecodingRequest, on_first: Callable[[int, FirstStep], None] | None = None
    ) -> Decoding:
        """Decodes one window. Cancelling it frees the engine's request.

        Args:
            request: the window and what is asked of it.
            on_first: called as soon as the language (its token) and the no-speech probability
                are known, long before the text.

        Raises:
            ServiceError: the engine is dead.
        """
        return await self._decode(request, on_first)

    async def _decode(
        self,
        request: DecodingRequest,
        on_first: Callable[[int, FirstStep], None] | None = None,
        max_tokens: int | None = None,
    ) -> Decoding:
        prompt = decoder_prompt(self._vocabulary, request.previous)
        output = None
        async for output in self._generate(request, prompt, max_tokens, early=on_first is not None):
            if on_first is not None and output.logprobs:
                on_first(output.token_ids[0], self._first_step(output.logprobs, request))
                on_first = None
        if output is None:
            raise ServiceError(Fault.ENGINE_DEAD, "The engine gave no answer.")
        return self._decoding(request, output)

    def _first_step(self, logprobs: Any, request: DecodingRequest) -> FirstStep:
        return first_step(
            logprobs,
            self._carriers,
            temperature=request.temperature,
            multilingual=self._vocabulary.is_multilingual,
        )

    def _decoding(self, request: DecodingRequest, output: Any) -> Decoding:
        prefix = self._vocabulary.prefix_length
        tokens = list(output.token_ids)
        logprobs = token_logprobs(
            output.logprobs, self._carriers, temperature=request.temperature, skip=prefix
        )
        finished = bool(tokens) and tokens[-1] == self._vocabulary.end_of_text
        first = self._first_step(output.logprobs, request)
        return Decoding(
            tokens=tuple(tokens[prefix : -1 if finished else None]),
            logprobs=logprobs,
            language=tokens[0] if prefix else NO_TOKEN,
            language_prob=first.language_prob,
            no_speech_prob=first.no_speech_prob,
            temperature=request.temperature,
            finished=finished,
            looped=output.finish_reason == "repetition",
        )

    async def hear_language(self, request: DecodingRequest) -> LanguageEvidence:
        """What a window says of its language; stops after the first token.

        The request should have no previous text: Whisper would take its language for the window's.
        """
        tokens = list(self._vocabulary.languages.values())
        prompt = decoder_prompt(self._vocabulary, request.previous)
        outputs = self._generate(request, prompt, max_tokens=1, wanted=tokens)
        logprobs = [output.logprobs async for output in outputs][-1]
        return LanguageEvidence(
            language_distribution(
                logprobs, self._carriers, tokens, temperature=request.temperature
            ),
            self._first_step(logprobs, request).no_speech_prob,
        )

    async def align(self, request: AlignmentRequest) -> tuple[float, ...]:
        """When each of a text's tokens begins, and the last one ends: seconds of the window.

        Raises:
            AlignmentError: it could not be found out; the engine is well.
            ServiceError: the engine is dead.
        """
        # Here and in a thread: numba takes half a second to import and two to compile.
        looks = await self._aligner.align(request)
        frames = await asyncio.to_thread(_first_frames, looks)
        return tuple(frame / ENCODER_POSITIONS_PER_SECOND for frame in frames)

    def _alignment_prompt(self, request: AlignmentRequest) -> tuple[list[int], int]:
        """As openai/whisper, timing.py, find_alignment."""
        vocabulary = self._vocabulary
        prefix = [vocabulary.start_of_transcript]
        if vocabulary.is_multilingual:
            default = vocabulary.task_token(Task.TRANSCRIBE)
            prefix += [request.language, default if request.task == NO_TOKEN else request.task]
        tokens = [*prefix, vocabulary.no_timestamps, *request.tokens, vocabulary.end_of_text]
        if len(tokens) > POSITIONS:
            raise AlignmentError(f"{len(tokens)} tokens are more than the decoder has positions")
        return tokens, len(prefix)

    async def _encode(self, request: AlignmentRequest) -> None:
        again = DecodingRequest(
            request.samples, language=request.language, key=request.key, keep=True
        )
        await self._decode(again, max_tokens=1)

    async def _call(self, method: str, *arguments: Any) -> list[Any]:
        """What the worker extensions answer: that of the first worker of each engine.

        Raises:
            ServiceError: the engine is dead. vLLM would let a call wait for its answer for ever.
        """
        core = self._llm.engine_core
        call = asyncio.ensure_future(
            core.call_utility_all_async("collective_rpc", method, None, arguments, None)
        )
        try:
            while not call.done() and not self.is_dead:
                await asyncio.wait([call], timeout=_WATCH_SECONDS)
            if not self.is_dead:
                return [workers[0] for workers in await call]
        except Exception as error:
            if not self.is_dead:
                raise
            raise ServiceError(Fault.ENGINE_DEAD, ENGINE_DIED) from error
        finally:
            call.cancel()
        raise ServiceError(Fault.ENGINE_DEAD, ENGINE_DIED)

    async def _generate(
        self,
        request: DecodingRequest,
        prompt: list[int],
        max_tokens: int | None,
        *,
        early: bool = False,
        wanted: list[int] | None = None,
    ) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RepetitionDetectionParams, RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        ends = (self._vocabulary.timestamp(seconds) for seconds in request.goes_on_until)
        rules = RuleParameters(request.language, request.task, *ends)
        parameters = SamplingParams(
            temperature=request.temperature,
            seed=request.seed if request.temperature > 0 else None,
            max_tokens=max_tokens or max_new_tokens(self._vocabulary, len(prompt), POSITIONS),
            stop_token_ids=[self._vocabulary.end_of_text],
            logprob_token_ids=[*requested_tokens(self._carriers), *(wanted or ())],
            flat_logprobs=True,
            detokenize=False,
            skip_special_tokens=False,
            repetition_detection=RepetitionDetectionParams(
                max_pattern_size=_LOOP_PATTERN, min_pattern_size=1, min_count=_LOOP_COUNT
            ),
            output_kind=RequestOutputKind.CUMULATIVE if early else RequestOutputKind.FINAL_ONLY,
            extra_args=rules.as_extra_args(),
        )
        audio = {
            "prompt": "",
            "multi_modal_data": {"audio": (request.samples, SAMPLE_RATE)},
            "multi_modal_uuids": {"audio": [WindowName(request.key, request.keep).as_uuid()]},
        }
        inputs = {"encoder_prompt": audio, "decoder_prompt": {"prompt_token_ids": prompt}}
        with self._ranks.place(request.key) as rank:
            stream = self._llm.generate(
                inputs,
                parameters,
                request_id=uuid.uuid4().hex,
                trace_headers=request.trace_headers,
                data_parallel_rank=rank if self._engines > 1 else None,
            )
            try:
                async for result in stream:
                    yield result.outputs[0]
            except EngineDeadError as error:
                raise ServiceError(Fault.ENGINE_DEAD, ENGINE_DIED) from error
            finally:
                await stream.aclose()

    @property
    def is_dead(self) -> bool:
        """Whether the engine's process has gone; it does not come back."""
        return self._llm is not None and bool(self._llm.errored)

    async def stop(self) -> None:
        """Ends the engine's processes. Safe to call twice."""
        await self._aligner.stop()
        if self._llm is not None:
            llm, self._llm = self._llm, None
            await asyncio.to_thread(llm.shutdown)
            del llm
            gc.collect()  # its finaliser complains when it runs at the interpreter's very end


def _first_frames(looks: NDArray[np.float16]) -> list[int]:
    from whisper_service.whisper.time_warp import first_frames

    return [int(frame) for frame in first_frames(looks.astype(np.float32))]


def _forces_v1_runner() -> bool:
    return os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "0"


def _enum_name(value: Any) -> str:
    return str(getattr(value, "name", value)).lower()
