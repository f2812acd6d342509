from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whisper_service.engine.parameters import WindowName
from whisper_service.engine.worker.encoder_cache import EncoderCache


class Encoder:
    """Gives for each window of a batch its number, and remembers for which it ran."""

    def __init__(self, cache: EncoderCache) -> None:
        self.cache = cache
        self.ran: list[int] = []

    def run(self, *numbers: int, aligned_later: Sequence[int] = ()) -> list[float]:
        names = [WindowName(f"w{n}", is_aligned_later=n in aligned_later) for n in numbers]
        return self.ask(names, numbers)

    def ask(self, names: Sequence[WindowName | None], numbers: Sequence[int]) -> list[float]:
        def encode(places: list[int]) -> Sequence[Tensor]:
            self.ran += [numbers[place] for place in places]
            return torch.stack(
                [torch.full((4, 6), float(numbers[place])) for place in places]
            ).unbind()

        return [float(output[0, 0]) for output in self.cache.outputs(names, encode)]


def test_a_window_that_comes_again_is_not_encoded_again() -> None:
    encoder = Encoder(EncoderCache(4, 0))
    assert encoder.run(1, 2) == encoder.run(1, 2) == [1, 2]
    assert encoder.ran == [1, 2]
    assert encoder.cache.encoded == 2


def test_of_a_batch_only_the_unknown_windows_are_encoded_and_all_come_in_order() -> None:
    encoder = Encoder(EncoderCache(8, 0))
    encoder.run(1, 2, 3)
    assert encoder.run(5, 2, 4, 1, 6) == [5, 2, 4, 1, 6]
    assert encoder.ran == [1, 2, 3, 5, 4, 6]


def test_a_window_that_is_twice_in_a_batch_is_encoded_once() -> None:
    encoder = Encoder(EncoderCache(0, 0))
    assert encoder.run(1, 2, 1) == [1, 2, 1]
    assert encoder.ran == [1, 2]


def test_windows_without_a_name_are_each_encoded_and_none_is_kept() -> None:
    encoder = Encoder(EncoderCache(4, 4))
    assert encoder.ask([None, WindowName("w1"), None], [7, 1, 8]) == [7, 1, 8]
    assert encoder.ask([None], [7]) == [7]
    assert encoder.ran == [7, 1, 8, 7]
    assert encoder.cache.windows == 1


def test_the_oldest_windows_make_room() -> None:
    encoder = Encoder(EncoderCache(2, 0))
    for number in (1, 2, 1, 3):  # when 3 comes, 2 is the oldest
        encoder.run(number)
    assert encoder.ran == [1, 2, 3]
    encoder.run(1)
    encoder.run(2)
    assert encoder.ran == [1, 2, 3, 2]


def test_a_batch_larger_than_the_cache_is_answered_whole() -> None:
    encoder = Encoder(EncoderCache(2, 0))
    assert encoder.run(1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]
    assert encoder.run(5, 4, 1) == [5, 4, 1]
    assert encoder.ran == [1, 2, 3, 4, 5, 1]


def test_a_cache_without_room_keeps_nothing() -> None:
    encoder = Encoder(EncoderCache(0, 0))
    encoder.run(1, aligned_later=[1])
    encoder.run(1, aligned_later=[1])
    assert encoder.ran == [1, 1]
    assert encoder.cache.windows == 0


def test_a_kept_output_holds_no_other_window_in_memory() -> None:
    cache = EncoderCache(1, 0)
    Encoder(cache).run(*range(32))
    kept = cache.get("w31")
    assert kept is not None
    assert kept.untyped_storage().nbytes() == kept.nbytes


@pytest.mark.parametrize("recent", [0, 1, 8])
def test_a_window_that_will_be_aligned_stays_until_it_is_let_go_of(recent: int) -> None:
    cache = EncoderCache(recent, 2)
    encoder = Encoder(cache)
    encoder.run(1, 2, 3, aligned_later=[2])
    for number in range(4, 20):
        encoder.run(number)
    kept = cache.get("w2")
    assert kept is not None
    assert float(kept[0, 0]) == 2
    assert kept.untyped_storage().nbytes() == kept.nbytes
    assert encoder.run(2) == [2]  # a retry finds it as well
    assert encoder.ran.count(2) == 1
    cache.let_go("w2")
    cache.let_go("w2")
    encoder.run(*range(20, 30))
    assert cache.get("w2") is None


def test_a_window_that_is_kept_for_both_reasons_shares_its_memory() -> None:
    cache = EncoderCache(4, 4)
    Encoder(cache).run(7, aligned_later=[7])
    assert cache.windows == 1
    held = cache.get("w7")
    cache.let_go("w7")
    assert cache.get("w7") is held is not None


def test_a_window_whose_first_request_did_not_ask_for_words_is_kept_by_its_second() -> None:
    cache = EncoderCache(2, 2)
    encoder = Encoder(cache)
    encoder.run(1)
    encoder.run(1, aligned_later=[1])
    encoder.run(2, 3, 4)
    assert cache.get("w1") is not None
    assert encoder.ran == [1, 2, 3, 4]


def test_of_too_many_windows_that_wait_the_oldest_go() -> None:
    cache = EncoderCache(0, 2)
    for number in range(3):
        Encoder(cache).run(number, aligned_later=[number])
    assert [cache.get(f"w{number}") is not None for number in range(3)] == [False, True, True]
    assert cache.windows == 2


@given(
    batches=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), max_size=12),
    aligned_later=st.sets(st.integers(0, 6)),
    recent=st.integers(0, 4),
    awaiting=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_kept_the_answer_is_the_encoders(
    batches: list[list[int]], aligned_later: set[int], recent: int, awaiting: int
) -> None:
    encoder = Encoder(EncoderCache(recent, awaiting))
    for batch in batches:
        assert encoder.run(*batch, aligned_later=[*aligned_later]) == batch
        assert encoder.cache.windows <= recent + awaiting
    assert encoder.cache.encoded == len(encoder.ran)
