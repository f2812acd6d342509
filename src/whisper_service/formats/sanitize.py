"""What may leave the service: numbers that JSON has, times that subtitles have, text in UTF-8.

The engine should never produce anything else. A client's parser must not be where it is found out.
"""

from __future__ import annotations

import math

LONGEST = (
    1e9  # seconds, 31 years: a time beyond it is a mistake, and some parsers would choke on it
)

UNLIKELY = -9999.0  # how OpenAI writes a log-probability that has no finite value


def seconds(value: float) -> float:
    """Seconds to the millisecond, without float noise: 3.32, not 3.3200000000000003."""
    return milliseconds(value) / 1000


def milliseconds(value: float) -> int:
    """Whole, not negative milliseconds from seconds."""
    if math.isnan(value):
        return 0
    return round(min(max(value, 0.0), LONGEST) * 1000)


def ratio(value: float) -> float:
    """A finite number with six decimals; 0 in place of none."""
    return round(float(value), 6) if math.isfinite(value) else 0.0


def logprob(value: float) -> float:
    """A finite natural logarithm with six decimals."""
    return round(float(value), 6) if math.isfinite(value) else UNLIKELY


def well_formed(text: str) -> str:
    """The text with surrogates joined to the characters that they stand for, lone ones replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
