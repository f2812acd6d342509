from __future__ import annotations

import pytest

from whisper_service.domain import QualityOptions, Task, TranscriptionOptions, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.logprobs import FirstStep
from whisper_service.engine.requests import Decoding, DecodingRequest, LanguageEvidence

from .scripted_engine import (
    DE,
    EN,
    FR,
    TOKENIZER,
    VOCABULARY,
    ScriptedEngine,
    decoder_for,
    said,
    window_at,
)

WINDOW = window_at((0, 30))
LADDER = TranscriptionOptions()
LOOP = " hello" * 60


def by_temperature(**answers: Decoding) -> ScriptedEngine:
    """`t0=…, t4=…`: what comes at temperature 0 and 0.4; else what comes at 0."""

    def answer(request: DecodingRequest) -> Decoding:
        return answers.get(f"t{round(request.temperature * 10)}", answers["t0"])

    return ScriptedEngine(answer)


def temperatures(engine: ScriptedEngine) -> list[float]:
    return [request.temperature for request in engine.asked]


async def test_a_text_that_is_not_doubted_is_decoded_once() -> None:
    engine = by_temperature(t0=said(0, " hello", 2))
    decoded = await decoder_for(engine, LADDER).decode(WINDOW, EN)
    assert temperatures(engine) == [0.0]
    assert decoded.decoding.tokens == said(0, " hello", 2).tokens
    assert not decoded.silent


async def test_a_doubted_text_is_tried_hotter_until_one_is_good() -> None:
    engine = by_temperature(
        t0=said(0, LOOP, 2), t2=said(0, " w", 2, logprob=-1.5), t4=said(0, " hello", 2)
    )
    decoded = await decoder_for(engine, LADDER).decode(WINDOW, EN)
    assert temperatures(engine) == [0.0, 0.2, 0.4]
    assert decoded.decoding.temperature == 0.4
    assert decoded.measures.avg_logprob == pytest.approx(-0.2)


async def test_when_all_tries_fail_the_best_is_kept() -> None:
    engine = by_temperature(
        t0=said(0, LOOP, 2, logprob=-0.1),
        t2=said(0, LOOP, 2, logprob=-0.1),
        t4=said(0, " hello", 2, logprob=-1.8),
        t6=said(0, " w", 2, logprob=-1.2),
        t8=said(0, LOOP, 2, logprob=-3.0),
        t10=said(0, " w", 2, logprob=-1.1, looped=True),
    )
    decoded = await decoder_for(engine, LADDER).decode(WINDOW, EN)
    assert temperatures(engine) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert decoded.decoding.temperature == 0.6


async def test_silence_is_not_tried_again() -> None:
    engine = by_temperature(t0=said(0, LOOP, 2, no_speech=0.9, logprob=-1.4))
    decoded = await decoder_for(engine, LADDER).decode(WINDOW, EN)
    assert temperatures(engine) == [0.0]
    assert decoded.silent


async def test_a_given_temperature_is_the_only_one() -> None:
    engine = by_temperature(t0=said(0, LOOP, 2))
    options = TranscriptionOptions(temperatures=(0.7,))
    decoded = await decoder_for(engine, options).decode(WINDOW, EN)
    assert temperatures(engine) == [0.7]
    assert decoded.decoding.temperature == 0.7


async def test_the_requests_thresholds_decide() -> None:
    engine = by_temperature(t0=said(0, LOOP, 2, logprob=-4.0))
    options = TranscriptionOptions(quality=QualityOptions(1000.0, -5.0, 1.0))
    await decoder_for(engine, options).decode(WINDOW, EN)
    assert temperatures(engine) == [0.0]


async def test_every_try_of_a_window_has_its_key_so_that_it_is_encoded_once() -> None:
    engine = by_temperature(t0=said(0, LOOP, 2))
    decoder = decoder_for(engine, LADDER)
    await decoder.decode(WINDOW, EN)
    await decoder.decode(WINDOW, EN)
    keys = [request.key for request in engine.asked]
    assert len(set(keys[:6])) == 1
    assert len(set(keys)) == 2, "another window's features are never mistaken for these"


async def test_the_language_that_the_first_try_heard_holds_for_the_others() -> None:
    engine = ScriptedEngine(lambda _: said(0, LOOP, 2), default_language=FR)
    await decoder_for(engine, LADDER).decode(WINDOW, NO_TOKEN)
    assert [request.language for request in engine.asked] == [NO_TOKEN, *[FR] * 5]


async def test_the_language_is_told_once_in_the_first_try() -> None:
    engine = ScriptedEngine(
        lambda _: said(0, LOOP, 2, sure=0.7, no_speech=0.25), default_language=DE
    )
    told = []
    await decoder_for(engine, LADDER).decode(
        WINDOW, NO_TOKEN, on_first=lambda token, step: told.append((token, step))
    )
    ((token, step),) = told
    assert (token, step.language_prob, step.no_speech_prob) == (DE, 0.7, 0.25)


@pytest.mark.parametrize("task", Task)
async def test_the_task_is_asked_for(task: Task) -> None:
    engine = by_temperature(t0=said(0, " hello", 2))
    options = TranscriptionOptions(task=task, temperatures=(0.0,))
    await decoder_for(engine, options).decode(WINDOW, EN)
    assert engine.asked[0].task == VOCABULARY.task_token(task)


async def test_the_callers_prompt_comes_first_with_one_space_before_it() -> None:
    engine = by_temperature(t0=said(0, " hello", 2))
    decoder = decoder_for(engine, TranscriptionOptions(prompt="  Ubiquity \n"))
    await decoder.decode(WINDOW, EN)
    assert TOKENIZER.decode(engine.asked[0].previous) == " Ubiquity"
    await decoder.decode(WINDOW, EN, previous=(1, 2, 3))
    assert engine.asked[1].previous == (1, 2, 3)


@pytest.mark.parametrize(
    "misled",
    [
        pytest.param(said(0), id="no text"),
        pytest.param(said(0, " thanks", 2, no_speech=0.9, logprob=-1.5), id="taken for silence"),
        pytest.param(said(0, LOOP, 2), id="doubted at each temperature"),
    ],
)
async def test_a_prompt_after_which_nothing_is_heard_is_dropped(misled: Decoding) -> None:
    def answer(request: DecodingRequest) -> Decoding:
        return misled if request.previous else said(0, " hello", 2)

    engine = ScriptedEngine(answer)
    options = TranscriptionOptions(prompt="Ubiquity", temperatures=(0.0, 0.2))
    decoded = await decoder_for(engine, options).decode(WINDOW, EN, speaks=True)
    assert TOKENIZER.decode(decoded.decoding.tokens) == " hello"
    assert not decoded.doubted
    assert (engine.asked[-1].previous, engine.asked[-1].temperature) == ((), 0.0)
    assert all(request.previous for request in engine.asked[:-1])


@pytest.mark.parametrize(("speaks", "tries"), [(True, 2), (False, 1)])
async def test_silence_after_a_prompt_is_still_silence(speaks: bool, tries: int) -> None:
    engine = by_temperature(t0=said(0, " thanks", 2, no_speech=0.9, logprob=-1.5))
    decoder = decoder_for(engine, TranscriptionOptions(prompt="Ubiquity"))
    decoded = await decoder.decode(WINDOW, EN, speaks=speaks)
    assert decoded.silent
    assert temperatures(engine) == [0.0] * tries


@pytest.mark.parametrize("words", [True, False])
async def test_the_language_is_found_without_the_prompt(words: bool) -> None:
    engine = ScriptedEngine(
        lambda _: said(0, " hello", 2),
        lambda _: LanguageEvidence({EN: 0.2, DE: 0.1, FR: 0.7}, no_speech_prob=0.25),
    )
    told = []
    decoder = decoder_for(engine, TranscriptionOptions(prompt="Ubiquity", words=words))
    decoded = await decoder.decode(
        WINDOW, NO_TOKEN, on_first=lambda token, step: told.append((token, step))
    )
    assert decoded.decoding.language == FR
    (heard,), (asked,) = engine.heard, engine.asked
    assert (heard.previous, asked.language) == ((), FR)
    assert heard.key == asked.key, "so the window is encoded once"
    assert heard.keep is asked.keep is words, "so its samples are sent once"
    assert told == [(FR, FirstStep(no_speech_prob=0.25, language_prob=0.7))]


@pytest.mark.parametrize(
    ("prompt", "language"), [("", NO_TOKEN), ("Ubiquity", EN)], ids=["no prompt", "a language"]
)
async def test_else_the_language_takes_no_request_of_its_own(prompt: str, language: int) -> None:
    engine = by_temperature(t0=said(0, " hello", 2))
    await decoder_for(engine, TranscriptionOptions(prompt=prompt)).decode(WINDOW, language)
    assert not engine.heard
    assert len(engine.asked) == 1


async def seeds(window: Window) -> list[int]:
    engine = by_temperature(t0=said(0, LOOP, 2))
    await decoder_for(engine, LADDER).decode(window, EN)
    return [request.seed for request in engine.asked[1:]]


async def test_every_try_draws_its_own_random_numbers_and_every_window() -> None:
    one, other = await seeds(WINDOW), await seeds(window_at((30, 60)))
    assert len({*one, *other}) == 10


async def test_the_same_request_draws_the_same_random_numbers() -> None:
    assert await seeds(WINDOW) == await seeds(window_at((0, 30)))


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_an_empty_prompt_is_none(prompt: str) -> None:
    engine = by_temperature(t0=said())
    assert decoder_for(engine, TranscriptionOptions(prompt=prompt)).prompt == ()


def test_of_a_long_prompt_the_end_is_kept() -> None:
    engine = by_temperature(t0=said())
    prompt = "".join(chr(ord("a") + index % 26) for index in range(1000))
    kept = decoder_for(engine, TranscriptionOptions(prompt=prompt)).prompt
    assert len(kept) == 223
    assert prompt.endswith(TOKENIZER.decode(kept))


async def test_an_empty_text_is_measured_like_any_other() -> None:
    engine = by_temperature(t0=said())
    decoded = await decoder_for(engine, LADDER).decode(WINDOW, EN)
    assert decoded.measures.compression_ratio == 0
    assert decoded.measures.avg_logprob == pytest.approx(-0.2)
