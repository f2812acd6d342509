"""The service on the cases, through its own engine in float32: writes its answers."""

from __future__ import annotations

import asyncio
import io
import sys
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.answers import Answers, Decoded, File, Timed, Tokenizing
from reference.cases import (
    Cases,
    Pcm,
    as_samples,
    compared_tokens,
    decoder_prompt,
    read_cases,
)
from whisper_service.build import build_service
from whisper_service.checkpoints.checkpoint import Checkpoint, read_checkpoint
from whisper_service.checkpoints.embedded import prepare
from whisper_service.domain import SAMPLE_RATE, TranscriptionOptions
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.requests import DecodingRequest
from whisper_service.service.transcriber import TranscriptionService
from whisper_service.settings import Settings, load_settings

FLOAT32 = {"dtype": "float32", "kv_cache_dtype": "auto"}
_MEL_BINS = 80  # whisper-base's
# One greedy try, and no search for speech: what a doubted text costs is another question.
_ONE_TRY = TranscriptionOptions(temperatures=(0.0,), speech=None)


@dataclass
class Recorder:
    """What vLLM's engine is really given: it stands where requests leave for the engine."""

    prompts: list[list[int]] = field(default_factory=list)
    features: list[NDArray[np.float32]] = field(default_factory=list)

    def attach(self, llm: Any) -> None:
        send = llm.engine_core.add_request_async

        async def record_and_send(request: Any) -> None:
            self.prompts.append(list(request.prompt_token_ids))
            for feature in request.mm_features:
                if feature.data is not None:  # else the engine has it already
                    self.features.append(_log_mel(feature.data))
            await send(request)

        llm.engine_core.add_request_async = record_and_send


def _log_mel(sent: Any) -> NDArray[np.float32]:
    """float32[80, 3000]: what the model makes of the samples that are sent to it."""
    from whisper_service.engine.worker.log_mel import log_mel
    from whisper_service.engine.worker.processor import unpack

    (features,) = log_mel([unpack(sent["samples"].data, sent["scales"].data)], _MEL_BINS)
    made: NDArray[np.float32] = features.numpy()
    return made


class Service:
    """The service, started."""

    def __init__(
        self, service: TranscriptionService, engine: WhisperEngine, checkpoint: Checkpoint
    ) -> None:
        self._service = service
        self._engine = engine
        self._tokenizer = checkpoint.tokenizer
        self._vocabulary = checkpoint.vocabulary
        self._codes = {token: code for code, token in checkpoint.vocabulary.languages.items()}
        self.recorder = Recorder()
        self.recorder.attach(engine._llm)  # noqa: SLF001 -- there is no other way to see it

    async def decode(self, pcm: Pcm, language: str | None, prompt: str | None) -> Decoded:
        """A window at temperature 0; `probabilities` where the language is to be found."""
        tokens = self._vocabulary.languages
        request = DecodingRequest(
            as_samples(pcm),
            previous=tuple(self._tokenizer.encode(f" {prompt.strip()}")) if prompt else (),
            language=tokens[language] if language else NO_TOKEN,
            task=self._vocabulary.task_token(_ONE_TRY.task),
        )
        decoding = await self._engine.decode(request)
        decoder_prompt = self.recorder.prompts[-1]
        found: Mapping[int, float] = {}
        if language is None:
            found = (await self._engine.hear_language(request)).probabilities
        return Decoded(
            language=self._codes[decoding.language],
            tokens=decoding.tokens,
            finished=decoding.finished,
            avg_logprob=decoding.avg_logprob,
            no_speech_prob=decoding.no_speech_prob,
            decoder_prompt=decoder_prompt,
            probabilities={self._codes[token]: value for token, value in found.items()},
        )

    async def first_step(self, pcm: Pcm, previous: int) -> list[float]:
        """Log-probabilities of `compared_tokens` after a prompt in English, before all rules."""
        from vllm import SamplingParams

        vocabulary = self._vocabulary
        tokens = compared_tokens(vocabulary.size)
        prompt = decoder_prompt(
            previous, text=vocabulary.end_of_text, before=vocabulary.start_of_previous,
            start=vocabulary.start_of_transcript,
            rest=[vocabulary.languages["en"], vocabulary.task_token(_ONE_TRY.task)],
        )  # fmt: skip
        audio = {"audio": (as_samples(pcm), SAMPLE_RATE)}
        stream = self._engine._llm.generate(  # noqa: SLF001 -- the engine always asks for its rules
            {
                "encoder_prompt": {"prompt": "", "multi_modal_data": audio},
                "decoder_prompt": {"prompt_token_ids": prompt},
            },
            SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=tokens, detokenize=False),
            request_id=f"first step after {previous}",
        )
        output = [result.outputs[0] async for result in stream][-1]
        return [output.logprobs[0][token].logprob for token in tokens]

    async def transcribe(self, pcm: Pcm, **options: Any) -> File:
        """A whole file at temperature 0."""
        asked = replace(_ONE_TRY, **options)
        with self._service.admit("reference") as permit:
            transcript = await self._service.transcribe(io.BytesIO(_wav(pcm)), asked, permit)
        segments = transcript.segments
        return File(
            language=transcript.language,
            text=transcript.text,
            segments=[Timed(each.text, each.start, each.end) for each in segments],
            words=[
                Timed(word.word, word.start, word.end)
                for segment in segments
                for word in segment.words or ()
            ],
            compression_ratios=[each.compression_ratio for each in segments],
            no_speech_probs=[each.no_speech_prob for each in segments],
        )


def _wav(pcm: Pcm) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        target.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def tokenizing(texts: list[str], checkpoint: Checkpoint) -> Tokenizing:
    """What the service's tokenizer makes of the texts."""
    tokenizer, vocabulary = checkpoint.tokenizer, checkpoint.vocabulary
    return Tokenizing(
        texts=[tokenizer.encode(text) for text in texts],
        bytes_of_tokens=[
            tokenizer.token_bytes(token).hex() for token in range(vocabulary.end_of_text)
        ],
        suppressed=vocabulary.suppressed,
    )


async def answers(cases: Cases, service: Service, checkpoints: Mapping[str, Checkpoint]) -> Answers:
    languages = cases.languages
    log_mel = {}
    windows = {}
    for name, pcm in cases.windows.items():
        windows[name] = await service.decode(pcm, None, None)
        log_mel[name] = service.recorder.features[0]
        service.recorder.features.clear()
    prompted_windows = [
        await service.decode(cases.windows[name], languages[name], prompt)
        for name, prompt in cases.prompted_windows
    ]
    service.recorder.features.clear()
    clips = {}
    for name, pcm in cases.clips.items():
        clips[name] = await service.transcribe(pcm, language=languages[name], words=True)
        log_mel[name] = service.recorder.features[0]
        service.recorder.features.clear()
    return Answers(
        tokenizers={
            name: tokenizing(list(cases.texts), each) for name, each in checkpoints.items()
        },
        windows=windows,
        prompted_windows=prompted_windows,
        clips=clips,
        prompted_clips=[
            await service.transcribe(cases.clips[name], prompt=prompt)
            for name, prompt in cases.prompted_clips
        ],
        readings={
            name: await service.transcribe(pcm, language="en", condition_on_previous_text=True)
            for name, pcm in cases.readings.items()
        },
        previous={
            str(each): await service.first_step(next(iter(cases.windows.values())), each)
            for each in cases.previous
        },
        log_mel=log_mel,
    )


async def run(cases: Cases, settings: Settings) -> Answers:
    checkpoints = {
        name: read_checkpoint(str(prepare(key, settings.cache_dir)))
        for name, key in (("multilingual", "embedded"), ("english", "embedded:tiny.en"))
    }
    service = build_service(settings)
    engine = service._engine  # noqa: SLF001 -- what it decodes is compared before it is assembled
    try:
        await service.start()
        started = Service(service, engine, checkpoints["multilingual"])
        return await answers(cases, started, checkpoints)
    finally:
        await service.stop()


def main() -> None:
    cases, target = map(Path, sys.argv[1:])
    settings = load_settings().model_copy(
        update={"profile": "cpu", "model": "embedded", "engine_args": FLOAT32}
    )
    asyncio.run(run(read_cases(cases), settings)).write(target)


if __name__ == "__main__":
    main()
