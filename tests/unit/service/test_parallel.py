from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.whisper.byte_level import small_english_model
from whisper_service.domain import SAMPLE_RATE, Span, TranscriptionOptions, Window
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.requests import Decoding, DecodingRequest, LanguageEvidence
from whisper_service.errors import Fault, ServiceError
from whisper_service.service.fair_slots import FairSlots
from whisper_service.service.parallel import ParallelTranscription, Piece

from .scripted_engine import (
    DE,
    EN,
    FR,
    TOKENIZER,
    VOCABULARY,
    ScriptedEngine,
    decoder_for,
    length_of,
    said,
    start_of,
    texts,
    window_at,
    windows_at,
)


def transcription(
    engine: ScriptedEngine,
    slots: FairSlots | None = None,
    options: TranscriptionOptions | None = None,
) -> ParallelTranscription:
    return ParallelTranscription(
        decoder_for(engine, options), VOCABULARY, slots or FairSlots(8), language_threshold=0.5
    )


async def run(engine: ScriptedEngine, windows: Sequence[Window], language: int = EN) -> list[Piece]:
    return await transcription(engine).run(windows, language)


def closed(request: DecodingRequest) -> Decoding:
    """A text that names its window, from its first to its last second."""
    return said(0, f" w{round(start_of(request))}", length_of(request))


def speech(start: float, end: float) -> Span:
    return Span(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))


def with_pause(window: Window, seconds: float) -> Window:
    """The window with 0.2 s of silence around a place of it."""
    samples = window.samples.copy()
    samples[round((seconds - 0.1) * SAMPLE_RATE) : round((seconds + 0.1) * SAMPLE_RATE)] = 0
    return replace(window, samples=samples)


def hearing(english: float, german: float, french: float) -> LanguageEvidence:
    return LanguageEvidence({EN: english, DE: german, FR: french}, 0.1)


class TestOrder:
    async def test_all_windows_are_in_flight_at_once_and_come_back_in_order(self) -> None:
        engine = ScriptedEngine(closed)
        starts = [30.0 * index for index in range(6)]
        engine.gates = {start: asyncio.Event() for start in starts}
        task = asyncio.create_task(run(engine, windows_at(*starts)))
        await asyncio.sleep(0.01)
        assert engine.running == 6
        for start in reversed(starts):
            engine.gates[start].set()
            await asyncio.sleep(0.001)
        assert texts(await task) == [f" w{round(start)}" for start in starts]
        assert [start_of(request) for request in engine.ended] == starts[::-1]

    async def test_never_more_windows_run_than_there_are_slots(self) -> None:
        engine = ScriptedEngine(closed)
        slots = FairSlots(3)
        windows = windows_at(*(30.0 * index for index in range(20)))
        assert len(await transcription(engine, slots).run(windows, EN)) == 20
        assert engine.most == 3
        assert (slots.running, slots.queued) == (0, 0)

    async def test_one_slot_is_enough(self) -> None:
        engine = ScriptedEngine(
            lambda request: said(0, " w", length_of(request), sure=0.2),
            lambda _: hearing(0.3, 0.4, 0.3),
        )
        pieces = await transcription(engine, FairSlots(1)).run(windows_at(0, 30, 60), NO_TOKEN)
        assert len(pieces) == 3
        assert engine.most == 1


class TestLanguage:
    async def test_a_given_language_is_asked_of_every_window(self) -> None:
        engine = ScriptedEngine(closed)
        await run(engine, windows_at(0, 30, 60), language=FR)
        assert {request.language for request in engine.asked} == {FR}
        assert not engine.heard

    async def test_the_only_window_finds_its_language_itself(self) -> None:
        engine = ScriptedEngine(closed, default_language=DE)
        ((decoded, _),) = await run(engine, windows_at(0), language=NO_TOKEN)
        assert decoded.decoding.language == DE
        assert len(engine.asked) == 1

    async def test_a_sure_first_window_decides_before_its_text_is_done(self) -> None:
        engine = ScriptedEngine(closed, default_language=DE)
        engine.gates = {0.0: asyncio.Event()}
        task = asyncio.create_task(run(engine, windows_at(0, 30, 60), language=NO_TOKEN))
        await asyncio.sleep(0.01)
        assert sorted(start_of(request) for request in engine.ended) == [30, 60]
        engine.gates[0.0].set()
        assert texts(await task) == [" w0", " w30", " w60"]
        languages = {start: one.language for start, one in engine.by_start().items()}
        assert languages == {0: NO_TOKEN, 30: DE, 60: DE}
        assert not engine.heard

    @pytest.mark.parametrize(
        "doubt", [{"sure": 0.49}, {"no_speech": 0.7}], ids=["unsure", "no speech"]
    )
    async def test_an_unsure_first_window_asks_the_others_and_follows_them(
        self, doubt: dict[str, float]
    ) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            start = round(start_of(request))
            extra = doubt if request.language == NO_TOKEN else {}
            return said(0, f" w{start}", length_of(request), **extra)  # type: ignore[arg-type]

        engine = ScriptedEngine(answer, lambda _: hearing(0.1, 0.8, 0.1))
        pieces = await run(engine, windows_at(0, 30, 60), language=NO_TOKEN)
        assert [decoded.decoding.language for decoded, _ in pieces] == [DE, DE, DE]
        first = [one.language for one in engine.asked if start_of(one) == 0]
        assert first == [NO_TOKEN, DE], "the first is done again in the language of the file"

    async def test_a_first_window_that_guessed_right_is_not_done_again(self) -> None:
        engine = ScriptedEngine(
            lambda request: said(0, " w", length_of(request), sure=0.4),
            lambda _: hearing(0.45, 0.3, 0.25),
        )
        pieces = await run(engine, windows_at(0, 30), language=NO_TOKEN)
        assert len(engine.asked) == 2
        assert [decoded.decoding.language for decoded, _ in pieces] == [EN, EN]

    async def test_an_english_only_model_is_not_asked_for_a_language(self) -> None:
        model = small_english_model()
        engine = ScriptedEngine(
            lambda _: Decoding((65,), (-0.1, -0.1), NO_TOKEN, 1.0, 0.0, 0.0, True, False),  # noqa: FBT003
            default_language=NO_TOKEN,
        )
        english = ParallelTranscription(
            decoder_for(engine, model=model), model[0], FairSlots(4), language_threshold=0.5
        )
        await english.run(windows_at(0, 30), NO_TOKEN)
        assert [request.language for request in engine.asked] == [NO_TOKEN] * 2
        assert [request.task for request in engine.asked] == [NO_TOKEN] * 2
        assert not engine.heard


class TestOpenTail:
    async def test_what_an_open_text_leaves_is_done_again_to_the_sample(self) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            if start_of(request) == 100:
                return said(0, " hello", 12.34, 12.34, " w")
            return said(0, " tail", length_of(request))

        engine = ScriptedEngine(answer)
        pieces = await run(engine, windows_at(100))
        assert len(pieces) == 2
        tail = engine.asked[1].samples
        np.testing.assert_array_equal(
            tail, np.arange(round(112.34 * SAMPLE_RATE), 130 * SAMPLE_RATE, dtype=np.float32)
        )
        (_, first), (_, second) = pieces
        assert [TOKENIZER.decode(part.tokens) for part in first.segments] == [" hello"]
        assert [TOKENIZER.decode(part.tokens) for part in second.segments] == [" tail"]

    async def test_a_tail_keeps_its_place_in_a_packed_window(self) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            if start_of(request) == 10:
                return said(0, " hello", 7, 7, " w")
            return said(0, " tail", length_of(request))

        pieces = await run(ScriptedEngine(answer), [window_at((10, 15), (40, 50))])
        tail = pieces[1][0].window
        assert [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in tail.spans] == [
            (42.0, 50.0)
        ]
        assert tail.samples[0] == 42 * SAMPLE_RATE

    async def test_the_language_stays_the_windows(self) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            if start_of(request) == 0:
                return said(0, " hello", 10, 10, " w", language=DE)
            return said(0, " tail", length_of(request))

        engine = ScriptedEngine(answer)
        await run(engine, windows_at(0), language=NO_TOKEN)
        assert [request.language for request in engine.asked] == [NO_TOKEN, DE]

    @pytest.mark.parametrize(("end", "requests"), [(29.9, 1), (29.82, 1), (29.78, 2)])
    async def test_a_tail_too_short_for_a_word_is_left(self, end: float, requests: int) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            if start_of(request) == 0:
                return said(0, " hello", end, end, " w")
            return said(0, " tail", length_of(request))

        engine = ScriptedEngine(answer)
        await run(engine, windows_at(0))
        assert len(engine.asked) == requests

    async def test_it_goes_on_until_nothing_is_left(self) -> None:
        engine = ScriptedEngine(
            lambda request: (
                said(0, " hello", 5, 5, " w") if length_of(request) > 5 else said(0, " end", 4)
            )
        )
        pieces = await run(engine, windows_at(0))
        assert [start_of(request) for request in engine.asked] == [0, 5, 10, 15, 20, 25]
        assert texts(pieces) == [*[" hello w"] * 5, " end"]


class TestBelievedTail:
    """A text that is open at the end of a window, after a pair of timestamps."""

    @staticmethod
    async def requests(first: Decoding, *voiced: Span) -> list[DecodingRequest]:
        engine = ScriptedEngine(lambda each: first if start_of(each) == 0 else closed(each))
        await transcription(engine).run(windows_at(0), EN, voiced)
        return engine.asked

    async def test_that_says_enough_is_the_last_segment(self) -> None:
        engine = ScriptedEngine(lambda _: said(0, " hello", 26, 26, " a b c d e"))
        ((_, segmented),) = await transcription(engine).run(windows_at(0), EN, [speech(24, 29)])
        assert [(part.start, part.end) for part in segmented.segments] == [(0, 26), (26, 30)]
        assert len(engine.asked) == 1

    @pytest.mark.parametrize(
        ("text", "voiced"),
        [
            pytest.param(" a", [speech(24, 30)], id="too little for its speech"),
            pytest.param(" a" * 70, [speech(24, 28)], id="too much for its speech"),
            pytest.param(" a" * 4, [speech(24, 27), speech(27.4, 30)], id="too little for a pause"),
            pytest.param(" a" * 8, [], id="and nobody knows where speech is"),
        ],
    )
    async def test_that_may_not_be_all_is_done_again(self, text: str, voiced: list[Span]) -> None:
        asked = await self.requests(said(0, " hello", 26, 26, text), *voiced)
        assert [start_of(request) for request in asked] == [0, 26]

    async def test_that_says_much_is_believed_in_spite_of_a_pause(self) -> None:
        first = said(0, " hello", 26, 26, " a" * 8)
        assert len(await self.requests(first, speech(24, 27), speech(28, 30))) == 1

    async def test_after_speech_that_was_passed_over_is_done_again(self) -> None:
        first = said(0, " hello", 25, 26, " a b c d e")
        assert len(await self.requests(first, speech(24, 25.1), speech(26, 28))) == 1
        assert len(await self.requests(first, speech(24, 25.3), speech(26, 28))) == 2

    async def test_that_the_token_limit_ended_is_done_again(self) -> None:
        first = said(0, " hello", 26, 26, " a b c d e", finished=False)
        assert len(await self.requests(first, speech(24, 29))) == 2

    @pytest.mark.parametrize(("voice", "requests"), [(26.1, 1), (26.3, 2)])
    async def test_after_a_closed_pair_only_speech_is_heard_again(
        self, voice: float, requests: int
    ) -> None:
        first = said(0, " hello", 26, 26)
        assert len(await self.requests(first, speech(24, voice))) == requests


class TestSilence:
    async def test_a_silent_window_is_marked_and_its_tail_is_not_done_again(self) -> None:
        engine = ScriptedEngine(
            lambda _: said(0, " thanks", 2, 2, " w", no_speech=0.9, logprob=-1.5)
        )
        ((decoded, _),) = await run(engine, windows_at(0))
        assert decoded.silent
        assert len(engine.asked) == 1


class TestEarlyEnd:
    """Whisper says one sentence of many, and then that the text has ended."""

    @staticmethod
    def answer(request: DecodingRequest) -> Decoding:
        if start_of(request) == 0:
            return said(0, " hello", 4)
        return closed(request)

    async def test_speech_after_the_last_time_is_heard_again(self) -> None:
        engine = ScriptedEngine(self.answer)
        pieces = await transcription(engine).run(windows_at(0), EN, [speech(0, 3), speech(9, 12)])
        assert texts(pieces) == [" hello", " w4"]
        assert [start_of(request) for request in engine.asked] == [0, 4]

    @pytest.mark.parametrize(
        ("voiced", "until"),
        [
            pytest.param([(0, 3), (9, 12)], (11.02, 11.82), id="in the last stretch"),
            pytest.param([(0, 3), (9, 11), (11.5, 11.9)], (10.42, 11.72), id="over a pause"),
            pytest.param([(1, 1.8)], (0, 1.62), id="less than a second of it"),
            pytest.param([(40, 50)], (0, 0), id="none in this window"),
            pytest.param([], (0, 0), id="nobody knows"),
        ],
    )
    async def test_the_engine_is_told_until_when_somebody_speaks(
        self, voiced: list[tuple[float, float]], until: tuple[float, float]
    ) -> None:
        engine = ScriptedEngine(closed)
        window = window_at((0, 12), (60, 64))
        await transcription(engine).run([window], EN, [speech(*each) for each in voiced])
        assert engine.asked[0].goes_on_until == pytest.approx(until)

    async def test_a_time_of_the_window_leaves_out_what_is_cut_out_of_it(self) -> None:
        engine = ScriptedEngine(closed)
        window = window_at((0, 12), (60, 64))
        await transcription(engine).run([window], EN, [speech(9, 12), speech(61, 61.5)])
        assert engine.asked[0].goes_on_until == pytest.approx((11.52, 13.32))

    async def test_silence_after_the_last_time_is_not(self) -> None:
        engine = ScriptedEngine(self.answer)
        await transcription(engine).run(windows_at(0), EN, [speech(0, 4.4), speech(40, 50)])
        assert len(engine.asked) == 1

    async def test_without_knowing_where_speech_is_whisper_is_taken_at_its_word(self) -> None:
        engine = ScriptedEngine(self.answer)
        await run(engine, windows_at(0))
        assert len(engine.asked) == 1


class TestRepetition:
    """A text that repeats itself is a loop of the decoder's, or what was said."""

    SAME = " the same again"

    def answer(self, request: DecodingRequest) -> Decoding:
        times = max(1, round(length_of(request) / 3))
        return said(0, self.SAME * times, length_of(request))

    def loop(self, request: DecodingRequest) -> Decoding:
        """The decoder repeats the first word for ever, but in windows of less than 8 s."""
        if length_of(request) > 8:
            return said(0, self.SAME * 24, finished=False, looped=True)
        return closed(request)

    @staticmethod
    async def run(
        engine: ScriptedEngine, *temperatures: float, seconds: float = 30, speaks: bool = True
    ) -> list[Piece]:
        options = TranscriptionOptions(temperatures=temperatures)
        voiced = [speech(0, seconds)] if speaks else []
        windows = windows_at(0, seconds=seconds)
        return await transcription(engine, options=options).run(windows, EN, voiced)

    async def test_a_window_that_ends_by_itself_is_split_until_it_is_believed(self) -> None:
        engine = ScriptedEngine(self.answer)
        pieces = await self.run(engine, 0.0, 0.5)
        assert "".join(texts(pieces)).count(self.SAME) >= 9
        assert {request.temperature for request in engine.asked} == {0.0}

    async def test_a_loop_hides_nothing_that_is_said_behind_it(self) -> None:
        engine = ScriptedEngine(self.loop)
        pieces = await self.run(engine, 0.0, 0.5)
        assert self.SAME not in "".join(texts(pieces))
        assert sum(decoded.window.seconds for decoded, _ in pieces) == pytest.approx(30)
        assert {request.temperature for request in engine.asked} == {0.0}

    async def test_nor_at_the_only_temperature_that_was_asked_for(self) -> None:
        engine = ScriptedEngine(self.loop)
        pieces = await self.run(engine, 0.7)
        assert self.SAME not in "".join(texts(pieces))
        assert {request.temperature for request in engine.asked} == {0.7}

    async def test_a_window_of_a_few_words_is_tried_hotter(self) -> None:
        engine = ScriptedEngine(lambda _: said(0, self.SAME * 9, 2.5))
        await self.run(engine, 0.0, 0.5, seconds=2.5)
        assert [request.temperature for request in engine.asked] == [0.0, 0.5]

    async def test_where_nobody_speaks_a_loop_is_tried_hotter(self) -> None:
        engine = ScriptedEngine(self.loop)
        await self.run(engine, 0.0, 0.5, speaks=False)
        assert [request.temperature for request in engine.asked] == [0.0, 0.5]

    async def test_a_text_at_the_only_temperature_that_was_asked_for_is_final(self) -> None:
        engine = ScriptedEngine(self.answer)
        await self.run(engine, 0.7)
        assert len(engine.asked) == 1


class TestTerseText:
    async def test_a_sentence_with_the_time_of_several_is_split(self) -> None:
        engine = ScriptedEngine(
            lambda request: said(0, " no" if length_of(request) > 16 else " much more", 10)
        )
        window = with_pause(windows_at(0)[0], 14.0)
        pieces = await transcription(engine).run([window], EN, [speech(0, 9), speech(20, 21)])
        assert texts(pieces) == [" much more"] * 2

    async def test_few_words_in_little_speech_are_believed(self) -> None:
        engine = ScriptedEngine(lambda _: said(0, " no", 30))
        await transcription(engine).run(windows_at(0), EN, [speech(3, 4), speech(4.4, 6)])
        assert len(engine.asked) == 1

    async def test_few_words_around_a_pause_are_not(self) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            return said(0, " hello" if length_of(request) > 6 else " much more", length_of(request))

        engine = ScriptedEngine(answer)
        window = window_at((0, 8))
        pieces = await transcription(engine).run([window], EN, [speech(0, 1), speech(4, 7)])
        assert [start_of(request) for request in engine.asked] == [0, 0, 2.5]
        assert texts(pieces) == [" much more"] * 2

    @pytest.mark.parametrize(("pause", "split"), [(1.9, False), (2.1, True)])
    async def test_nor_is_any_text_over_a_long_pause(self, *, pause: float, split: bool) -> None:
        engine = ScriptedEngine(lambda each: said(0, " a" * 20, length_of(each)))
        voiced = [speech(0, 2), speech(2 + pause, 4 + pause)]
        await transcription(engine).run([window_at((0, 8))], EN, voiced)
        assert len(engine.asked) == (3 if split else 1)

    @pytest.mark.parametrize("voiced", [[(0, 3), (6, 6.4)], [(0, 0.4), (6, 8)]])
    async def test_a_pause_before_or_after_a_mere_sound_is_none(
        self, voiced: list[tuple[float, float]]
    ) -> None:
        engine = ScriptedEngine(lambda _: said(0, " a" * 3, 8))
        window = window_at((0, 8))
        await transcription(engine).run([window], EN, [speech(*each) for each in voiced])
        assert len(engine.asked) == 1

    @pytest.mark.parametrize(("text", "split"), [(" no more", True), (" a" * 12, False)])
    async def test_over_a_long_silence_less_than_a_sentence_is_too_little(
        self, text: str, split: bool
    ) -> None:
        """Also in a window too short to be split for any other reason."""
        engine = ScriptedEngine(
            lambda each: said(0, text if length_of(each) > 5 else " much more", length_of(each))
        )
        window = with_pause(window_at((0, 4), (30, 33)), 3.6)
        pieces = await transcription(engine).run([window], EN, [speech(0, 3.4), speech(30.2, 33)])
        assert len(engine.asked) == (3 if split else 1)
        assert texts(pieces) == ([" much more"] * 2 if split else [text])


class TestTokenLimit:
    async def test_a_window_that_was_cut_off_is_halved_in_a_pause(self) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            if length_of(request) > 16:
                return said(0, " much", finished=False)
            return closed(request)

        engine = ScriptedEngine(answer)
        window = with_pause(windows_at(60)[0], 14.0)
        pieces = await run(engine, [window])
        assert [length_of(request) for request in engine.asked] == [30, 14, 16]
        assert [decoded.window.spans for decoded, _ in pieces] == [
            (speech(60, 74),),
            (speech(74, 90),),
        ]

    async def test_halves_are_decoded_at_once_and_told_in_order(self) -> None:
        held = asyncio.Event()

        def answer(request: DecodingRequest) -> Decoding:
            if length_of(request) > 16:
                return said(0, " much", finished=False)
            engine.gates[60.0] = held  # the first half's end waits for the second's
            return closed(request)

        async def hold() -> None:
            while len(engine.ended) < 2:  # noqa: ASYNC110 -- the script has no event for it
                await asyncio.sleep(0)
            held.set()

        engine = ScriptedEngine(answer)
        window = with_pause(windows_at(60)[0], 14.0)
        told: list[Piece] = []
        decoder = decoder_for(engine)
        at_once = ParallelTranscription(decoder, VOCABULARY, FairSlots(8), 0.5, told.append)
        work = asyncio.gather(hold(), at_once.run([window], EN))
        _, pieces = await asyncio.wait_for(work, 10)
        assert [length_of(request) for request in engine.ended] == [30, 16, 14]
        assert [decoded.window.seconds for decoded, _ in told] == [14, 16]
        assert pieces == told

    async def test_one_place_in_the_engine_is_enough_for_two_halves(self) -> None:
        engine = ScriptedEngine(
            lambda request: (
                said(0, " much", finished=False) if length_of(request) > 16 else closed(request)
            )
        )
        await asyncio.wait_for(transcription(engine, slots=FairSlots(1)).run(windows_at(0), EN), 10)
        assert engine.most == 1

    async def test_halves_are_halved_down_to_a_quarter(self) -> None:
        engine = ScriptedEngine(lambda _: said(0, " much", finished=False))
        pieces = await run(engine, windows_at(0))
        lengths = [decoded.window.seconds for decoded, _ in pieces]
        assert sum(lengths) == pytest.approx(30)
        assert all(2.5 <= length <= 7.5 for length in lengths)

    async def test_a_cut_off_window_with_closed_segments_goes_on_after_them(self) -> None:
        def answer(request: DecodingRequest) -> Decoding:
            if start_of(request) == 0:
                return said(0, " a", 10, 10, " b", 20, 20, " c", finished=False)
            return closed(request)

        engine = ScriptedEngine(answer)
        await run(engine, windows_at(0))
        assert [start_of(request) for request in engine.asked] == [0, 20]


class TestEndings:
    async def test_a_failure_ends_the_whole_request_with_its_own_exception(self) -> None:
        failure = ServiceError(Fault.ENGINE_DEAD, "gone")

        def answer(request: DecodingRequest) -> Decoding | Exception:
            return failure if start_of(request) == 30 else closed(request)

        engine = ScriptedEngine(answer)
        engine.gates = {0.0: asyncio.Event(), 60.0: asyncio.Event()}
        slots = FairSlots(2)
        with pytest.raises(ServiceError) as raised:
            await transcription(engine, slots).run(windows_at(0, 30, 60, 90), EN)
        assert raised.value is failure
        assert engine.running == 0
        assert (slots.running, slots.queued) == (0, 0)

    @pytest.mark.parametrize("language", [EN, NO_TOKEN])
    async def test_a_failing_first_window_does_not_leave_the_others_waiting(
        self, language: int
    ) -> None:
        engine = ScriptedEngine(lambda _: ServiceError(Fault.ENGINE_DEAD, "gone"))
        with pytest.raises(ServiceError):
            await asyncio.wait_for(run(engine, windows_at(0, 30), language), 5)
        assert engine.running == 0

    @pytest.mark.parametrize("language", [EN, NO_TOKEN])
    @pytest.mark.parametrize("ticks", range(0, 12, 2))
    async def test_cancelling_it_leaves_nothing_running_and_no_slot_taken(
        self, language: int, ticks: int
    ) -> None:
        engine = ScriptedEngine(closed, lambda _: hearing(0.3, 0.4, 0.3))
        engine.gates = {30.0 * index: asyncio.Event() for index in range(6)}
        slots = FairSlots(3)
        windows = windows_at(*engine.gates)
        task = asyncio.create_task(transcription(engine, slots).run(windows, language))
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 0
        assert (slots.running, slots.queued) == (0, 0)


@pytest.mark.parametrize("language", [EN, NO_TOKEN])
async def test_for_who_waits_for_the_text_the_first_windows_are_not_held_up(language: int) -> None:
    starts = tuple(30.0 * index for index in range(8))
    gates = {start: asyncio.Event() for start in starts}
    engine = ScriptedEngine(closed, gates=gates)
    one = ParallelTranscription(
        decoder_for(engine), VOCABULARY, FairSlots(16), 0.5, slow_start=True
    )
    running = asyncio.create_task(one.run(windows_at(*starts), language))
    started = []
    for start in starts:
        await asyncio.sleep(0.01)
        started.append(len(engine.asked))
        gates[start].set()
    await running
    assert started == [1, 3, 5, 7, 8, 8, 8, 8]
