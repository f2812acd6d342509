from __future__ import annotations

from contextlib import ExitStack

import pytest

from whisper_service.engine.ranks import EngineRanks


def test_windows_go_to_the_engine_with_the_fewest() -> None:
    ranks = EngineRanks(3, remembered=100)
    with ExitStack() as running:
        placed = [running.enter_context(ranks.place(f"window {each}")) for each in range(7)]
    assert placed == [0, 1, 2, 0, 1, 2, 0]


def test_an_engine_that_is_done_early_gets_the_next() -> None:
    ranks = EngineRanks(2, remembered=100)
    with ranks.place("long") as first:
        for number in range(3):
            with ranks.place(f"short {number}") as other:
                assert other != first


def test_a_further_try_goes_where_the_encoders_output_is() -> None:
    ranks = EngineRanks(2, remembered=100)
    with ranks.place("other"), ranks.place("doubted") as first:
        pass
    assert first == 1
    with ranks.place("doubted") as again:
        assert again == first


def test_only_the_latest_windows_are_remembered() -> None:
    ranks = EngineRanks(2, remembered=2)
    with ranks.place("busy"), ranks.place("forgotten") as there:
        pass
    for number in range(2):
        with ranks.place(f"later {number}"):
            pass
    with ranks.place("forgotten") as again:
        assert (there, again) == (1, 0)


def test_a_try_that_fails_leaves_its_place() -> None:
    ranks = EngineRanks(2, remembered=100)
    for number in range(3):
        with pytest.raises(ValueError), ranks.place(f"window {number}") as rank:
            raise ValueError
        assert rank == 0
