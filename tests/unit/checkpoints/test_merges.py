from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.unit.whisper.byte_level import tokenizer_like_whispers
from whisper_service.checkpoints.merges import apply_merges, with_missing_merges

COMPLETE = tokenizer_like_whispers().to_str()
MERGES = json.loads(COMPLETE)["model"]["merges"]  # h e, l o, he l, hel lo, Ġ hello, Ġ w


def written(merges: list[Any], **model: Any) -> str:
    content = json.loads(COMPLETE)
    content["model"] |= {"merges": merges, **model}
    return json.dumps(content)


def merges_of(tokenizer: str) -> list[Any]:
    return list(json.loads(tokenizer)["model"]["merges"])


def test_a_complete_tokenizer_is_left_as_it_is() -> None:
    assert with_missing_merges(COMPLETE) is COMPLETE


@settings(deadline=None)
@given(kept=st.lists(st.booleans(), min_size=len(MERGES), max_size=len(MERGES)))
def test_whatever_merges_are_missing_they_come_back_in_their_order(kept: list[bool]) -> None:
    left = [merge for merge, keep in zip(MERGES, kept, strict=True) if keep]
    assert merges_of(with_missing_merges(written(left))) == MERGES


def test_a_word_is_one_token_again() -> None:
    lost = written(MERGES[1:])
    assert len(Tokenizer.from_str(lost).encode(" hello").ids) > 1
    assert len(Tokenizer.from_str(with_missing_merges(lost)).encode(" hello").ids) == 1


def test_merges_written_the_older_way_are_read_too() -> None:
    lost = written([" ".join(merge) for merge in MERGES[1:]])
    assert merges_of(with_missing_merges(lost)) == MERGES


def test_nothing_else_of_the_file_changes() -> None:
    repaired = json.loads(with_missing_merges(written(MERGES[1:])))
    assert repaired == json.loads(COMPLETE)


@pytest.mark.parametrize(
    "model",
    [
        {"type": "Unigram"},
        {"continuing_subword_prefix": "##"},
        {"end_of_word_suffix": "</w>"},
        {"ignore_merges": True},
    ],
)
def test_tokenizers_of_another_kind_are_not_touched(model: dict[str, Any]) -> None:
    other = written(MERGES[1:], **model)
    assert with_missing_merges(other) is other


def test_merges_in_an_order_of_their_own_are_not_touched() -> None:
    other = written(MERGES[:0:-1])
    assert with_missing_merges(other) is other


def with_token(token: str, token_id: int, *, added_tokens: bool) -> str:
    content = json.loads(COMPLETE)
    content["model"]["vocab"][token] = token_id
    if not added_tokens:
        content["added_tokens"] = []
    return json.dumps(content)


@pytest.mark.parametrize("token", ["", "xyz"])
def test_tokens_that_are_not_the_sum_of_two_stay_out_of_reach(token: str) -> None:
    """As the empty token of the multilingual vocabulary, and words that were put in whole."""
    text = with_token(token, 5000, added_tokens=False)
    assert with_missing_merges(text) is text


def test_only_tokens_before_the_added_ones_get_merges() -> None:
    behind_all = with_token("hew", 5000, added_tokens=False)
    assert merges_of(with_missing_merges(behind_all)) == [*MERGES, ["he", "w"]]
    behind_the_added_ones = with_token("hew", 5000, added_tokens=True)
    assert with_missing_merges(behind_the_added_ones) is behind_the_added_ones


@pytest.mark.parametrize("text", ["[]", "7", '{"model": null}', "{}"])
def test_json_of_something_else_is_not_touched(text: str) -> None:
    assert with_missing_merges(text) is text


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        with_missing_merges("{")


def test_merges_of_the_lowest_rank_go_first_and_only_those_below_the_limit() -> None:
    ranks = {("a", "b"): 5, ("b", "c"): 4, ("a", "bc"): 6}
    assert apply_merges("abc", ranks, 7) == ["abc"]
    assert apply_merges("abc", ranks, 6) == ["a", "bc"]
    assert apply_merges("abc", ranks, 4) == ["a", "b", "c"]
    assert apply_merges("abab", {("a", "b"): 5}, 6) == ["ab", "ab"]
    assert apply_merges("", ranks, 7) == []
