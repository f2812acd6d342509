from __future__ import annotations

import pytest

from whisper_service.whisper.prompt import decoder_prompt, max_new_tokens

from .byte_level import small_english_model, small_model

VOCABULARY, _ = small_model()
ENGLISH, _ = small_english_model()
SOT, PREVIOUS = VOCABULARY.start_of_transcript, VOCABULARY.start_of_previous


def test_without_anything_before_the_decoder_starts_with_the_transcript() -> None:
    assert decoder_prompt(VOCABULARY, ()) == [SOT]


def test_what_was_said_before_stands_between_its_own_start_and_the_transcripts() -> None:
    assert decoder_prompt(VOCABULARY, (1, 2, 3)) == [PREVIOUS, 1, 2, 3, SOT]


@pytest.mark.parametrize("length", [222, 223, 224, 5000])
def test_only_the_last_223_tokens_are_kept(length: int) -> None:
    before = list(range(length))
    prompt = decoder_prompt(VOCABULARY, before)
    assert prompt == [PREVIOUS, *before[-223:], SOT]


@pytest.mark.parametrize(
    ("vocabulary", "prompt", "expected"),
    [(VOCABULARY, 1, 226), (ENGLISH, 1, 224), (VOCABULARY, 225, 223), (ENGLISH, 225, 223)],
)
def test_a_window_has_224_tokens_where_the_decoder_has_room_for_them(
    vocabulary: object, prompt: int, expected: int
) -> None:
    assert max_new_tokens(vocabulary, prompt, 448) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("vocabulary", [VOCABULARY, ENGLISH])
@pytest.mark.parametrize("before", [0, 1, 100, 223, 1000])
def test_prompt_and_text_never_exceed_the_decoders_positions(
    vocabulary: object, before: int
) -> None:
    prompt = decoder_prompt(vocabulary, [1] * before)  # type: ignore[arg-type]
    assert len(prompt) + max_new_tokens(vocabulary, len(prompt), 448) <= 448  # type: ignore[arg-type]
