from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_service.engine.decoding_rules import NO_TOKEN, DecodingRules
from whisper_service.whisper.vocabulary import Vocabulary

from .rows import assert_read_alike, state_of
from .whispers_rules import (
    Row,
    assert_well_timed,
    decode_a_while,
    english_only,
    multilingual,
    some_logits,
)

VOCABULARIES = {
    "multilingual": multilingual(),
    "English-only": english_only(),
    "nothing is suppressed at the begin": multilingual(suppressed_at_begin=()),
}

any_vocabulary = pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=[*VOCABULARIES])


def some_rows(chance: random.Random, vocabulary: Vocabulary, lengths: list[int]) -> list[Row]:
    rows = []
    for length in lengths:
        row = Row(
            (),
            language=chance.choice((NO_TOKEN, *vocabulary.languages.values())),
            task=chance.choice((15, 16)),
            temperature=chance.choice((0.0, 0.2, 1.0)),
            ruled=chance.random() > 0.15,
            closed_end=chance.choice((NO_TOKEN, 25, 28, vocabulary.size - 1)),
            open_end=chance.choice((NO_TOKEN, 26, vocabulary.size - 1)),
        )
        rows.append(replace(row, generated=decode_a_while(chance, vocabulary, row, length)))
    return rows


@any_vocabulary
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    padding=st.sampled_from((0, 3)),
)
def test_a_batch_is_ruled_as_a_slow_reader_of_whisper_rules_each_row(
    vocabulary: Vocabulary, seed: int, lengths: list[int], padding: int
) -> None:
    chance = random.Random(seed)
    rows = some_rows(chance, vocabulary, lengths)
    columns = vocabulary.size + padding
    raw = torch.tensor([some_logits(chance, columns, vocabulary) for _ in rows])
    ruled = DecodingRules(vocabulary, "cpu").apply(raw.clone(), state_of(vocabulary, rows))
    for index, row in enumerate(rows):
        assert_read_alike(vocabulary, raw[index], ruled[index], row)
        if row.ruled:
            assert ruled[index].isfinite().any(), "something may always come next"


@any_vocabulary
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), temperature=st.sampled_from((0.0, 0.2, 1.0)))
def test_whatever_the_model_says_the_timestamps_come_in_order_and_in_pairs(
    vocabulary: Vocabulary, seed: int, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rules = DecodingRules(vocabulary, "cpu")
    rows = [Row((), temperature=temperature)] * 6
    ended = [False] * len(rows)
    for _ in range(vocabulary.prefix_length + 24):
        logits = torch.randn(len(rows), vocabulary.size + 2, generator=generator) * 6
        ruled = rules.apply(logits, state_of(vocabulary, rows))
        if temperature:
            tokens = torch.multinomial((ruled / temperature).softmax(-1), 1, generator=generator)
        else:
            tokens = ruled.argmax(-1, keepdim=True)
        for index, token in enumerate(tokens[:, 0].tolist()):
            ended[index] |= token == vocabulary.end_of_text
            if not ended[index]:
                row = rows[index]
                rows[index] = Row((*row.generated, token), temperature=temperature)
    for row in rows:
        prefix, text = (
            row.generated[: vocabulary.prefix_length],
            row.generated[vocabulary.prefix_length :],
        )
        if prefix:
            assert prefix[0] in vocabulary.languages.values()
            assert prefix[1] == row.task
        assert not set(text) & (set(vocabulary.suppressed) | {vocabulary.end_of_text})
        assert_well_timed(vocabulary, text)


def test_a_forced_language_comes_however_unlikely_it_is() -> None:
    vocabulary = multilingual()
    raw = torch.zeros(1, vocabulary.size)
    raw[0, 13] = -30
    row = Row((), language=13)
    ruled = DecodingRules(vocabulary, "cpu").apply(raw, state_of(vocabulary, [row]))
    assert ruled[0].argmax() == 13


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        pytest.param((22, 1, 24), False, id="a segment closes before the speech does"),
        pytest.param((22, 1, 26), True, id="a segment closes with the speech"),
        pytest.param((22, 1, 26, 26), False, id="a segment begins with speech left"),
        pytest.param((22, 1, 26, 28), True, id="a segment begins where none is left"),
        pytest.param((22,), True, id="nothing was said yet"),
        pytest.param((22, 1), True, id="in the midst of a segment"),
    ],
)
def test_a_text_ends_between_two_segments_only_where_speech_does(
    text: tuple[int, ...], ends: bool
) -> None:
    vocabulary = multilingual()
    row = Row((12, 16, *text), closed_end=26, open_end=28)
    raw = torch.full((1, vocabulary.size), -9.0)
    raw[0, [vocabulary.end_of_text, 28]] = torch.tensor([1.3, 0.0])
    ruled = DecodingRules(vocabulary, "cpu").apply(raw, state_of(vocabulary, [row]))
    assert (ruled[0].argmax() == vocabulary.end_of_text) == ends
    assert ruled[0].isfinite().any()


def test_an_end_that_the_model_is_sure_of_is_believed() -> None:
    vocabulary = multilingual()
    row = Row((12, 16, 22, 1, 24), closed_end=26)
    raw = torch.full((1, vocabulary.size), -9.0)
    raw[0, [vocabulary.end_of_text, 28]] = torch.tensor([1.5, 0.0])
    ruled = DecodingRules(vocabulary, "cpu").apply(raw, state_of(vocabulary, [row]))
    assert ruled[0].argmax() == vocabulary.end_of_text


def test_a_request_without_a_task_transcribes() -> None:
    vocabulary = multilingual()
    raw = torch.zeros(2, vocabulary.size)
    rows = [Row((12,), task=NO_TOKEN), Row((12,), task=15)]
    ruled = DecodingRules(vocabulary, "cpu").apply(raw, state_of(vocabulary, rows))
    assert ruled.argmax(-1).tolist() == [16, 15]


def test_an_empty_batch_and_one_of_others_only_are_left_alone() -> None:
    vocabulary = multilingual()
    rules = DecodingRules(vocabulary, "cpu")
    empty = torch.empty(0, vocabulary.size)
    assert rules.apply(empty, state_of(vocabulary, [])).shape == empty.shape
    raw = torch.randn(2, vocabulary.size)
    others = [Row((), ruled=False), Row((12, 16, 21), ruled=False)]
    assert torch.equal(rules.apply(raw.clone(), state_of(vocabulary, others)), raw)


def test_the_logits_are_changed_in_place() -> None:
    vocabulary = multilingual()
    raw = torch.randn(1, vocabulary.size)
    assert DecodingRules(vocabulary, "cpu").apply(raw, state_of(vocabulary, [Row(())])) is raw


def test_a_full_size_vocabulary_is_ruled_alike() -> None:
    zero = 50364
    vocabulary = multilingual(
        size=51865,
        end_of_text=50257,
        start_of_transcript=50258,
        start_of_previous=50361,
        no_speech=50362,
        no_timestamps=50363,
        timestamp_begin=zero,
        languages={"en": 50259, "de": 50261},
        tasks={"translate": 50358, "transcribe": 50359},
        suppressed=(1, 2, 7, *range(50258, zero)),
        suppressed_at_begin=(220, 50257),
        max_initial_timestamp=zero + 50,
    )
    rows = [
        Row(()),
        Row((50259,), task=50359),
        Row((50259, 50359)),
        Row((50259, 50359, zero + 10, 400), temperature=0.4),
        Row((50259, 50359, zero + 10, 400, zero + 1500)),
        Row((50259, 50359, zero + 10, 400, zero + 90, zero + 90)),
    ]
    raw = torch.randn(len(rows), 51904, generator=torch.Generator().manual_seed(0)) * 5
    ruled = DecodingRules(vocabulary, "cpu").apply(raw.clone(), state_of(vocabulary, rows))
    for index, row in enumerate(rows):
        assert_read_alike(vocabulary, raw[index], ruled[index], row)
