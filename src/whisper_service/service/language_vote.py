"""Which language a file is in, when its caller did not say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from whisper_service.domain import Window
from whisper_service.service.window_decoder import WindowDecoder

_WINDOWS_TO_ASK = 4


async def vote(decoder: WindowDecoder, windows: Sequence[Window], threshold: float) -> int:
    """The token of the language of `windows`: of the first that is sure, else of all together.

    Args:
        decoder: of the request.
        windows: of one file, in order; the first few are asked, all at once.
        threshold: the probability from which on one window decides alone.
    """
    asked = windows[:_WINDOWS_TO_ASK]
    ballots = await asyncio.gather(*(decoder.language_distribution(window) for window in asked))
    total: Counter[int] = Counter()
    for ballot in ballots:
        favourite = max(ballot, key=ballot.__getitem__)
        if ballot[favourite] >= threshold:
            return favourite
        total.update(ballot)
    return max(total, key=total.__getitem__)
