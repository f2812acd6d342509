"""openai/whisper on the cases: writes its answers. Runs in `environment`, see there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.openai_weights import load_openai_model
from reference.answers import Answers, Decoded, File, Timed, Tokenizing
from reference.cases import (
    Cases,
    Pcm,
    as_samples,
    compared_tokens,
    decoder_prompt,
    read_cases,
)
from whisper_service.domain import WINDOW_SAMPLES, Samples

_HOP = 160  # samples from one frame of log-mel to the next


class OpenAI:
    """OpenAI's own package with the embedded model's weights, in float32.

    Language tokens are suppressed inside a text, as the service does: the reference leaves them,
    which changes log-probabilities by up to 4e-3 and no token.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from whisper.tokenizer import get_tokenizer

        torch.set_num_threads(os.cpu_count() or 1)
        self.model = load_openai_model(folder)
        tokenizer = get_tokenizer(multilingual=True, num_languages=self.model.num_languages)
        self._tokenizer = tokenizer
        self._suppressed = [-1, *tokenizer.all_language_tokens]
        self._encoded: dict[bytes, Any] = {}

    def log_mel(self, pcm: Pcm) -> Any:
        """float32[80, 3000]: a window as the encoder is given it."""
        return WindowedLogMel(as_samples(pcm), self.model.dims.n_mels).window(0)

    def _encode(self, pcm: Pcm) -> Any:
        """float32[1, 1500, width]: the encoder's output, computed once for each window."""
        import torch

        key = pcm.tobytes()
        if key not in self._encoded:
            with torch.no_grad():
                self._encoded[key] = self.model.encoder(self.log_mel(pcm)[None])
        return self._encoded[key]

    def decode(self, pcm: Pcm, language: str | None, prompt: str | None) -> Decoded:
        """A window at temperature 0; `probabilities` where the language is to be found."""
        from whisper.decoding import DecodingOptions, DecodingTask

        options = DecodingOptions(
            language=language,
            temperature=0.0,
            prompt=prompt,
            suppress_tokens=list(self._suppressed),
            fp16=False,
        )
        task = DecodingTask(self.model, options)
        limit = min(task.sample_len, task.n_ctx + 1 - task.sample_begin)
        features = self._encode(pcm)
        (result,) = task.run(features)
        found = self.model.detect_language(features)[1][0] if language is None else {}
        return Decoded(
            language=result.language,
            tokens=result.tokens,
            finished=len(result.tokens) < limit,
            avg_logprob=result.avg_logprob,
            no_speech_prob=result.no_speech_prob,
            # Language and task are tokens that the service has the engine generate.
            decoder_prompt=list(task.initial_tokens[:-2]),
            probabilities=found,
        )

    def first_step(self, pcm: Pcm, previous: int) -> list[float]:
        """Log-probabilities of `compared_tokens` after a prompt in English."""
        import torch

        tokenizer = self._tokenizer
        prompt = decoder_prompt(
            previous, text=tokenizer.eot, before=tokenizer.sot_prev, start=tokenizer.sot,
            rest=[tokenizer.to_language_token("en"), tokenizer.transcribe],
        )  # fmt: skip
        with torch.no_grad():
            logits = self.model.logits(torch.tensor([prompt]), self._encode(pcm))[0, -1]
        found: list[float] = logits.log_softmax(-1)[compared_tokens(len(logits))].tolist()
        return found

    def transcribe(self, pcm: Pcm, **options: Any) -> File:
        """A whole file at temperature 0."""
        result = self.model.transcribe(
            as_samples(pcm),
            temperature=0.0,
            suppress_tokens=list(self._suppressed),
            fp16=False,
            **options,
        )
        return File(
            language=result["language"],
            text=result["text"].strip(),
            segments=[Timed(s["text"], s["start"], s["end"]) for s in result["segments"]],
            words=[
                Timed(word["word"], float(word["start"]), float(word["end"]))
                for segment in result["segments"]
                for word in segment.get("words", ())
            ],
            compression_ratios=[each["compression_ratio"] for each in result["segments"]],
            no_speech_probs=[each["no_speech_prob"] for each in result["segments"]],
        )


class WindowedLogMel:
    """The log-mel of a recording for `transcribe`, computed for each window by itself.

    openai/whisper computes it once for the file: the loudest moment of all sets the floor, and a
    window's edges know what is beyond. And it pads the log-mel of a window with 0.0, where the
    service has silence (docs/quality.md). Where two words are nearly equally likely, the other one
    wins by that, so both are given the same here.
    """

    def __init__(self, samples: Samples, mel_bins: int) -> None:
        self._samples = samples
        self.shape = (mel_bins, (len(samples) + WINDOW_SAMPLES) // _HOP)

    def __getitem__(self, place: tuple[slice, slice]) -> Any:
        """float32[bins, 3000]: the window that starts with a frame, silence behind its end."""
        _, frames = place
        return self.window(frames.start)

    def window(self, frame: int) -> Any:
        """float32[bins, 3000]: of the 30 s from a frame on."""
        from whisper.audio import log_mel_spectrogram, pad_or_trim

        return log_mel_spectrogram(pad_or_trim(self._samples[frame * _HOP :]), self.shape[0])


@contextmanager
def windowed_log_mel() -> Iterator[None]:
    """Has `transcribe` compute the log-mel of each window by itself."""
    import whisper

    module: Any = sys.modules[whisper.transcribe.__module__]
    log_mel_spectrogram, pad_or_trim = module.log_mel_spectrogram, module.pad_or_trim
    module.log_mel_spectrogram = lambda audio, mel_bins, padding: (  # noqa: ARG005
        WindowedLogMel(audio, mel_bins)
    )
    # What is left to pad is the whole file, of which the first window tells the language.
    module.pad_or_trim = lambda mel, frames: (
        mel.window(0) if isinstance(mel, WindowedLogMel) else pad_or_trim(mel, frames)
    )
    try:
        yield
    finally:
        module.log_mel_spectrogram, module.pad_or_trim = log_mel_spectrogram, pad_or_trim


def tokenizing(texts: list[str], *, multilingual: bool) -> Tokenizing:
    """What tiktoken makes of the texts with one of Whisper's two vocabularies."""
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(multilingual)
    encoding = tokenizer.encoding
    return Tokenizing(
        texts=[encoding.encode(text, disallowed_special=()) for text in texts],
        bytes_of_tokens=[
            encoding.decode_single_token_bytes(token).hex() for token in range(tokenizer.eot)
        ],
        suppressed=sorted(
            {
                *tokenizer.non_speech_tokens,
                tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm, tokenizer.no_speech,
                tokenizer.transcribe, tokenizer.translate,
            }
        ),
    )  # fmt: skip


def answers(cases: Cases, openai: OpenAI) -> Answers:
    languages = cases.languages
    texts = list(cases.texts)
    return Answers(
        tokenizers={
            "multilingual": tokenizing(texts, multilingual=True),
            "english": tokenizing(texts, multilingual=False),
        },
        windows={name: openai.decode(pcm, None, None) for name, pcm in cases.windows.items()},
        prompted_windows=[
            openai.decode(cases.windows[name], languages[name], prompt)
            for name, prompt in cases.prompted_windows
        ],
        clips={
            name: openai.transcribe(
                pcm,
                language=languages[name],
                condition_on_previous_text=False,
                word_timestamps=True,
            )
            for name, pcm in cases.clips.items()
        },
        prompted_clips=[
            openai.transcribe(
                cases.clips[name], initial_prompt=prompt, condition_on_previous_text=False
            )
            for name, prompt in cases.prompted_clips
        ],
        readings={
            name: openai.transcribe(pcm, language="en", condition_on_previous_text=True)
            for name, pcm in cases.readings.items()
        },
        previous={
            str(each): openai.first_step(next(iter(cases.windows.values())), each)
            for each in cases.previous
        },
        log_mel={
            name: openai.log_mel(pcm).numpy()
            for name, pcm in [*cases.windows.items(), *cases.clips.items()]
        },
    )


def main() -> None:
    cases, checkpoint, target = map(Path, sys.argv[1:])
    with windowed_log_mel():
        found = answers(read_cases(cases), OpenAI(checkpoint))
    found.write(target)


if __name__ == "__main__":
    main()
