"""Which language a file is in, when its caller did not say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from whisper_service.domain import Window
from whisper_service.service.together import together
from whisper_service.service.window_decoder import WindowDecoder

NO_SPEECH = 0.6  # above it a window's language is a guess
_WINDOWS_TO_ASK = 4


async def vote(decoder: WindowDecoder, windows: Sequence[Window], threshold: float) -> int:
    """The token of the language of `windows`: of the first that is sure, else of all together.

    Music and noise are often sure of a language: a window counts as much as it is speech.

    Args:
        decoder: of the request.
        windows: of one file, in order; the first few are asked, all at once.
        threshold: the probability from which on one window decides alone.
    """
    asked = windows[:_WINDOWS_TO_ASK]
    ballots = await together([decoder.hear_language(window) for window in asked])
    total: dict[int, float] = defaultdict(float)
    for ballot in ballots:
        favourite = max(ballot.probabilities, key=ballot.probabilities.__getitem__)
        if ballot.probabilities[favourite] >= threshold and ballot.no_speech_prob < NO_SPEECH:
            return favourite
        for token, probability in ballot.probabilities.items():
            total[token] += probability * (1 - ballot.no_speech_prob)
    return max(total, key=total.__getitem__)
