"""A cluster grows with the audio that was let in, not with the number of requests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from whisper_service.cluster.autoscaling import WINDOWS, WindowsPolicy


def context(*windows: float, target: int = 2) -> SimpleNamespace:
    told = {f"replica-{number}": value for number, value in enumerate(windows)}
    return SimpleNamespace(
        aggregated_metrics={WINDOWS: told} if told else {}, target_num_replicas=target
    )


@pytest.mark.parametrize(
    ("windows", "replicas"),
    [((0, 0), 1), ((100,), 1), ((128, 1), 2), ((128, 128), 2), ((500, 400), 8)],
)
def test_as_many_replicas_as_the_windows_fill(windows: tuple[float, ...], replicas: int) -> None:
    assert WindowsPolicy(windows_per_replica=128)(context(*windows)) == (replicas, {})


def test_while_nobody_has_told_anything_it_stays_as_it_is() -> None:
    assert WindowsPolicy(windows_per_replica=128)(context(target=5)) == (5, {})


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError):
        WindowsPolicy(windows_per_replica=0)
