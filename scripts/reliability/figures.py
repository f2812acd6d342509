"""Percentiles, and whether memory grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

PERCENTILES: Final = (50, 90, 99)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """How many there were, their percentiles and the largest, in seconds."""
    if not seconds:
        return {"count": 0}
    values = np.percentile(seconds, PERCENTILES)
    shown = {f"p{rank}": float(round(v, 4)) for rank, v in zip(PERCENTILES, values, strict=True)}
    return {"count": len(seconds), **shown, "max": round(max(seconds), 4)}


def course(minutes: Sequence[float], values: Sequence[float], settled: float) -> dict[str, float]:
    """First, last and largest of a series, and its slope an hour from the minute `settled` on.

    The slope is the median of those between all pairs of points (Theil and Sen), which single
    peaks do not move.
    """
    late = [(x, y) for x, y in zip(minutes, values, strict=True) if x >= settled]
    slopes = [
        (y2 - y1) / (x2 - x1) * 60
        for index, (x1, y1) in enumerate(late)
        for x2, y2 in late[index + 1 :]
        if x2 > x1
    ]
    first = late[0][1] if late else values[0]
    return {
        "first": round(first, 1),
        "last": round(values[-1], 1),
        "max": round(max(values), 1),
        "slope_an_hour": round(float(np.median(slopes)), 1) if slopes else 0.0,
    }
