"""How many replicas the audio that was let in needs. Imports nothing: Ray's controller runs it."""

from __future__ import annotations

import math
from typing import Any

WINDOWS = "windows"  # the name under which a replica tells how many it has accepted


class WindowsPolicy:
    """A Ray Serve autoscaling policy: as many replicas as the accepted windows fill.

    Ray's own counts requests, and a request is five seconds of audio or four hours. Bounds, delays
    and factors of the autoscaling configuration are applied to what this one wants.
    """

    def __init__(self, windows_per_replica: float) -> None:
        """`windows_per_replica`: accepted ones, so waiting ones too; more than that scales up."""
        if windows_per_replica <= 0:
            raise ValueError("windows_per_replica must be above 0")
        self._windows_per_replica = windows_per_replica

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Replicas wanted, of an `AutoscalingContext`; and state, of which there is none."""
        told = (context.aggregated_metrics or {}).get(WINDOWS, {})
        if not told:
            return context.target_num_replicas, {}  # nobody has said anything yet
        return max(1, math.ceil(sum(told.values()) / self._windows_per_replica)), {}
