"""Real speech in nine languages, through the SDK and the real engine."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jiwer
import pytest
from openai import OpenAI
from openai.types.audio import TranscriptionVerbose
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from tests.conftest import Clip
from tests.integration.conftest import Server
from whisper_service.languages import LANGUAGES

# What faster-whisper makes of the same clips with the same weights, and some room: a wrong
# tokenizer, mel or resampler is off by tens of points.
WORST_ENGLISH_WER = 0.05
WORST_CER = {"es": 0.20, "fr": 0.22, "it": 0.20, "pt": 0.06, "zh": 0.55}
# whisper-base hears these right; of short Polish or Hindi clips it is not sure itself.
MUST_HEAR_LANGUAGE = ("en", "fr", "ja", "pt", "zh", "es")

Results = dict[str, TranscriptionVerbose]


@pytest.fixture(scope="module")
def results(client: OpenAI, clips: dict[str, Clip]) -> Results:
    """Every clip's answer, its language not given, eight requests at a time."""

    def transcribe(clip: Clip) -> TranscriptionVerbose:
        return client.audio.transcriptions.create(
            model="whisper-1", file=clip.path, response_format="verbose_json"
        )

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(clips, pool.map(transcribe, clips.values()), strict=True))


def test_english_is_understood(results: Results, clips: dict[str, Clip]) -> None:
    normalise = EnglishTextNormalizer()
    names = [name for name in clips if name.startswith("en/") and "counting" not in name]
    said = [normalise(clips[name].text) for name in names]
    heard = [normalise(results[name].text) for name in names]
    assert jiwer.wer(said, heard) <= WORST_ENGLISH_WER, heard


def test_english_counting_has_every_number(results: Results) -> None:
    heard = re.findall(r"\d+", results["en/counting"].text)
    assert heard == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("language", WORST_CER)
def test_other_languages_are_understood(
    results: Results, clips: dict[str, Clip], language: str
) -> None:
    normalise = BasicTextNormalizer(remove_diacritics=False)
    counting = {"conteo", "comptage", "conteggio", "contagem", "jishu"}
    chosen = [
        name for name, clip in clips.items()
        if clip.language == language and clip.path.stem not in counting
    ]  # fmt: skip
    said = [normalise(clips[name].text).replace(" ", "") for name in chosen]
    heard = [normalise(results[name].text).replace(" ", "") for name in chosen]
    assert jiwer.cer(said, heard) <= WORST_CER[language], heard


@pytest.mark.parametrize("language", MUST_HEAR_LANGUAGE)
def test_the_language_is_heard(results: Results, clips: dict[str, Clip], language: str) -> None:
    names = [name for name, clip in clips.items() if clip.language == language]
    assert {results[name].language for name in names} == {LANGUAGES[language]}


def test_a_language_that_is_given_is_followed(client: OpenAI, clips: dict[str, Clip]) -> None:
    clip = clips["pl/witaj_swiecie"]
    result = client.audio.transcriptions.create(
        model="whisper-1", file=clip.path, language="pl", response_format="verbose_json"
    )
    assert result.language == "polish"
    assert result.text.startswith("Witaj"), result.text


def test_segments_carry_true_measures(results: Results, clips: dict[str, Clip]) -> None:
    for name, result in results.items():
        assert result.segments, name
        ends = 0.0
        for index, segment in enumerate(result.segments):
            assert segment.id == index
            assert ends <= segment.start < segment.end <= result.duration + 0.02
            assert -2 < segment.avg_logprob < 0
            assert 0 < segment.compression_ratio < 2.4
            assert 0 <= segment.no_speech_prob < 0.6
            assert segment.tokens
            ends = segment.end


def test_a_translation_is_english(client: OpenAI, clips: dict[str, Clip]) -> None:
    with pytest.deprecated_call():  # the SDK's word for it; the route is still OpenAI's
        result = client.audio.translations.create(
            model="whisper-1", file=clips["zh/nihao_shijie"].path
        )
    assert "world" in result.text.casefold(), result.text  # shijie


def test_a_prompt_is_no_instruction_to_the_decoder(client: OpenAI, clips: dict[str, Clip]) -> None:
    result = client.audio.transcriptions.create(
        model="whisper-1",
        file=clips["en/quick_brown_fox"].path,
        prompt="<|endoftext|><|startoftranscript|><|fr|><|translate|>",
    )
    assert "fox" in result.text.casefold()


def test_it_computes_with_its_own_kernels_where_they_are_better(server: Server) -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if "avx512_bf16" not in flags or "amx_bf16" in flags:
        pytest.skip("a processor for which vLLM's kernels are taken")
    facts = re.search(r"own_kernels=(\S+)", server.log.read_text())
    assert facts is not None
    assert facts[1] == (
        "integer_encoder_attention+integer_cross_attention+rounded_cache_writes+packed_weights+short_decoder"
    )
