"""Several channels become one, also where their sum would cancel them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_service.domain import Samples

# The mix's power, relative to what channels that have nothing to do with each other would give.
# One channel being the other's inverse, 0.9 times as loud, gives 0.006; below a quarter the
# channels' correlation is under -0.75, which no two microphones of one room have.
_CANCELS, _CANCELS_NO_MORE = 0.25, 0.5
_NOTHING = 1e-5  # -50 dB: all sound is in channels that the mix leaves out
_LOUDER = 2.0  # power ratio (3 dB) at which another channel takes the place of the chosen one


class Downmix:
    """Mixes blocks of interleaved samples, one after the other. Deterministic.

    Where the mix is far quieter than its channels, the loudest of them is taken instead, block by
    block: a recording may be wired wrongly in a part of it only. A block is about half a second.
    """

    def __init__(self, weights: NDArray[np.float32]) -> None:
        """`weights`: float32[channels], what each channel adds to the mix."""
        self._weights = weights
        self._chosen: int | None = None  # the channel that stands for all, while they cancel

    def __call__(self, block: NDArray[np.float32]) -> Samples:
        """float32[n] of a block, float32[n, channels] at any rate."""
        with np.errstate(all="ignore"):  # what is no number decides nothing
            mix: Samples = block @ self._weights
            covariance = _covariance(block)
            mixed = float(self._weights @ covariance @ self._weights)
            power = covariance.diagonal()
            if not self._cancel(mixed, power):
                self._chosen = None
                return mix
        loudest = int(power.argmax())
        if self._chosen is None or power[loudest] > _LOUDER * power[self._chosen]:
            self._chosen = loudest
        return np.ascontiguousarray(block[:, self._chosen])

    def _cancel(self, mixed: float, power: NDArray[np.float64]) -> bool:
        limit = _CANCELS if self._chosen is None else _CANCELS_NO_MORE
        unrelated = power @ np.square(self._weights)
        return bool(mixed < limit * unrelated or mixed < _NOTHING * power.max())


def _covariance(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64[channels, channels]; without the means, which are no sound."""
    means = np.ones(len(block), np.float32) @ block / len(block)
    products: NDArray[np.float64] = (block.T @ block / len(block)).astype(np.float64)
    return products - np.outer(means, means)
