from __future__ import annotations

import pytest

from whisper_service.domain import SAMPLE_RATE, Segment, Span, Task, Transcript, Window
from whisper_service.engine.requests import Decoding
from whisper_service.service.assemble import Assembler
from whisper_service.service.parallel import Piece
from whisper_service.service.window_decoder import DecodedWindow
from whisper_service.whisper.quality import Measures
from whisper_service.whisper.segments import segment_window

from .scripted_engine import (
    DE,
    EN,
    TOKENIZER,
    VOCABULARY,
    said,
    tokens_of,
    window_at,
)


def piece(window: Window, decoding: Decoding, *, silent: bool = False) -> Piece:
    measures = Measures(decoding.avg_logprob, 1.25, decoding.no_speech_prob)
    segmented = segment_window(decoding.tokens, window.seconds, VOCABULARY)
    return DecodedWindow(window, decoding, measures, silent), segmented


def assemble(
    *pieces: Piece,
    voiced: tuple[tuple[float, float], ...] = (),
    language: str | None = None,
    logprobs: bool = False,
) -> Transcript:
    spans = [Span(round(a * SAMPLE_RATE), round(b * SAMPLE_RATE)) for a, b in voiced]
    assembly = Assembler(VOCABULARY, TOKENIZER).begin(spans)
    for one in pieces:
        assembly.add(one)
    return assembly.transcript(
        task=Task.TRANSCRIBE,
        language=language,
        duration=123.4,
        logprobs=logprobs,
    )


def times(segments: tuple[Segment, ...]) -> list[tuple[float, float]]:
    return [(round(each.start, 2), round(each.end, 2)) for each in segments]


def test_every_field_of_a_segment_is_filled_truly() -> None:
    decoding = said(0.5, " hello", 2, language=EN, no_speech=0.125, logprob=-0.25)
    decoding = Decoding(**(vars(decoding) | {"temperature": 0.4}))
    (segment,) = assemble(piece(window_at((12.34, 20)), decoding)).segments
    assert segment == Segment(
        id=0,
        seek=1234,
        start=pytest.approx(12.84),
        end=pytest.approx(14.34),
        text=" hello",
        tokens=tokens_of(0.5, " hello", 2),
        temperature=0.4,
        avg_logprob=pytest.approx(-0.25),
        compression_ratio=1.25,
        no_speech_prob=0.125,
    )


def test_ids_count_through_the_whole_file() -> None:
    transcript = assemble(
        piece(window_at((0, 30)), said(0, " a", 2, 2, " b", 4, language=EN)),
        piece(window_at((30, 60)), said(0, " c", 2, language=EN)),
    )
    assert [segment.id for segment in transcript.segments] == [0, 1, 2]
    assert [segment.seek for segment in transcript.segments] == [0, 0, 3000]
    assert transcript.text == "a b c"
    assert transcript.duration == 123.4


def test_times_lead_back_through_the_packing() -> None:
    window = window_at((10, 14), (100, 106), (200, 203))
    decoding = said(1, " a", 4, 4, " b", 9, 10, " c", 13, language=EN)
    segments = assemble(piece(window, decoding)).segments
    assert times(segments) == [(11, 14), (100, 105), (200, 203)]


def test_with_the_voice_known_segments_begin_and_end_with_it() -> None:
    decoding = said(0, " a", 10, 10, " b", 20, language=EN)
    segments = assemble(
        piece(window_at((0, 20)), decoding), voiced=((0.5, 4.0), (10.2, 18.0))
    ).segments
    assert times(segments) == [(0.5, 4.0), (10.2, 18.0)]


def test_no_segment_begins_before_the_one_before_it_has_ended() -> None:
    segments = assemble(
        piece(window_at((0, 30)), said(0, " a", 30, language=EN)),
        piece(window_at((29, 40)), said(0, " b", 0.5, 0.5, " c", 5, language=EN)),
    ).segments
    assert times(segments) == [(0, 30), (30, 30), (30, 34)]


def test_silent_windows_and_segments_without_text_are_left_out() -> None:
    transcript = assemble(
        piece(window_at((0, 30)), said(0, " thanks", 2, language=EN), silent=True),
        piece(window_at((30, 60)), said(0, " ", 2, 2, " hello", 4, language=EN)),
    )
    assert transcript.text == "hello"
    assert [segment.id for segment in transcript.segments] == [0]
    assert times(transcript.segments) == [(32, 34)]


def test_text_that_was_left_open_is_not_in_the_transcript() -> None:
    transcript = assemble(
        piece(window_at((0, 30)), said(0, " hello", 4, 4, " w", language=EN)), logprobs=True
    )
    assert transcript.text == "hello"
    assert transcript.logprobs is not None
    assert "".join(each.token for each in transcript.logprobs) == " hello"


def test_the_language_is_the_one_that_was_spoken() -> None:
    silent = piece(window_at((0, 30)), said(0, " thanks", 2, language=EN), silent=True)
    german = piece(window_at((30, 60)), said(0, " hallo", 2, language=DE))
    assert assemble(silent, german).language == "de"
    assert assemble(silent, german, language="fr").language == "fr"
    assert assemble(silent).language == "en"
    assert assemble().language == "en"


def test_a_recording_without_speech_is_an_empty_transcript() -> None:
    transcript = assemble(logprobs=True)
    assert (transcript.text, transcript.segments, transcript.logprobs) == ("", (), ())
    assert transcript.usage.output_tokens == 0


def test_log_probabilities_belong_to_the_tokens_of_the_text() -> None:
    decoding = said(0, "hü", 2, 2, " w", 4, language=EN)
    numbered = tuple(-float(index) for index in range(len(decoding.tokens) + 1))
    decoding = Decoding(**(vars(decoding) | {"logprobs": numbered}))
    transcript = assemble(piece(window_at((0, 30)), decoding), logprobs=True)
    assert transcript.logprobs is not None
    assert [each.logprob for each in transcript.logprobs] == [-1, -2, -3, -6]
    data = b"".join(bytes(each.bytes) for each in transcript.logprobs)
    assert data.decode() == "hü w"
    assert [each.token for each in transcript.logprobs] == ["h", "\ufffd", "\ufffd", " w"]


def test_log_probabilities_are_given_where_they_were_asked_for() -> None:
    assert assemble(piece(window_at((0, 30)), said(0, " a", 2, language=EN))).logprobs is None


def test_usage_counts_what_was_generated() -> None:
    first, second = said(0, " hello", 2, language=EN), said(language=EN)
    transcript = assemble(piece(window_at((0, 9)), first), piece(window_at((9, 19)), second))
    assert transcript.usage.output_tokens == 3
