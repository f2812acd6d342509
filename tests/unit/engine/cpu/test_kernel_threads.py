"""Numba's kernels are used only where their threads are PyTorch's."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest
import torch
from numba.np.ufunc import parallel

from whisper_service.engine.cpu import kernel_threads
from whisper_service.engine.cpu.kernel_threads import shares_threads


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an engine that `launch` has started."""
    monkeypatch.setattr(Path, "read_text", lambda _: "7f00 r-xp /lib/libiomp5.so")
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", torch.get_num_threads())
    monkeypatch.setattr(numba.config, "THREADING_LAYER", "default")
    monkeypatch.setattr(parallel, "_launch_threads", lambda: None)
    monkeypatch.setattr(numba, "threading_layer", lambda: numba.config.THREADING_LAYER)


@pytest.mark.usefixtures("shared")
def test_they_are_shared_where_intels_openmp_is_loaded_first() -> None:
    assert shares_threads()
    assert numba.config.THREADING_LAYER == "omp"


@pytest.mark.usefixtures("shared")
def test_they_are_not_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_threads, "_OPENMP", "a library that nobody has loaded")
    assert not shares_threads()


@pytest.mark.usefixtures("shared")
def test_they_are_not_where_their_numbers_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", torch.get_num_threads() + 1)
    # None may be asked for: OpenMP's number, which is PyTorch's, would become Numba's.
    monkeypatch.setattr(parallel, "_launch_threads", lambda: pytest.fail("threads were launched"))
    assert not shares_threads()


@pytest.mark.usefixtures("shared")
def test_they_are_not_where_numba_has_chosen_others_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "threading_layer", lambda: "tbb")
    assert not shares_threads()


@pytest.mark.usefixtures("shared")
def test_they_are_not_where_numba_finds_no_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch() -> None:
        raise ValueError("No threading layer could be loaded.\nHINT: install one")

    monkeypatch.setattr(parallel, "_launch_threads", launch)
    assert not shares_threads()
