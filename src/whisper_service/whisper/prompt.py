"""The decoder's prompt (openai/whisper, decoding.py, _get_initial_tokens)."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_service.whisper.vocabulary import Vocabulary

MAX_PREVIOUS_TOKENS = 223  # half of the decoder's 448 positions, less one for <|startofprev|>
MAX_NEW_TOKENS = 224  # of text and timestamps, in one window


def decoder_prompt(vocabulary: Vocabulary, previous: Sequence[int]) -> list[int]:
    """Token ids that the decoder starts with.

    Language and task are not among them: they are generated, under constraint, so that one pass
    yields the language and the no-speech probability as well.

    Args:
        vocabulary: of the checkpoint.
        previous: what was said before, as text tokens; only its end is used.
    """
    if not previous:
        return [vocabulary.start_of_transcript]
    kept = previous[-MAX_PREVIOUS_TOKENS:]
    return [vocabulary.start_of_previous, *kept, vocabulary.start_of_transcript]


def max_new_tokens(vocabulary: Vocabulary, prompt_length: int, positions: int) -> int:
    """How many tokens may be generated after a prompt, the language and task among them."""
    return min(vocabulary.prefix_length + MAX_NEW_TOKENS, positions - prompt_length)
