"""The measures of scripts/evaluate.py: that they count what they say they count."""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faster_whisper")
pytest.importorskip("whisper_normalizer")
sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import itertools

from evaluation import corpus, crowd, joined, long, sounds, systems, text
from evaluation.report import Goal, Section, render, render_goals, table
from evaluation.systems import Answer, Piece

RATE = corpus.SAMPLE_RATE


def a_clip(name: str, said: str, seconds: float = 2.0, language: str = "en") -> corpus.Clip:
    """A clip that is loud but for its first 0.3 and its last 0.5 seconds."""
    samples = np.random.default_rng(len(name)).normal(0, 0.1, int(seconds * RATE))
    samples[: int(0.3 * RATE)] *= 1e-4
    samples[len(samples) - int(0.5 * RATE) :] *= 1e-4
    wave = samples.astype(np.float32)
    data = f"{name} {language}".encode()
    return corpus.Clip(name, language, said, data, wave, corpus.speech_bounds(wave))


CLIPS = [a_clip("a", "Hello world."), a_clip("bb", "One two three."), a_clip("ccc", "Good bye.")]


def pieces(*bounds: tuple[float, float, str]) -> tuple[Piece, ...]:
    return tuple(Piece(start, end, words, 0.0) for start, end, words in bounds)


class TestScore:
    def test_english_is_counted_in_words(self) -> None:
        assert text.score("The brown fox.", "the brown dog", "en") == text.Score(1, 3)

    def test_other_languages_are_counted_in_characters(self) -> None:
        assert text.score("Olá mundo.", "ola mundo", "pt") == text.Score(1, 9)

    def test_spaces_mean_nothing_in_japanese(self) -> None:
        assert text.score("こんにちは世界。", "こんにちは 世界", "ja").edits == 0

    def test_nothing_heard_is_all_wrong(self) -> None:
        assert text.score("Hello world.", "", "en") == text.Score(2, 2)

    def test_scores_pool_edits_over_lengths(self) -> None:
        assert (text.Score(1, 10) + text.Score(2, 20)).percent == pytest.approx(10.0)

    @pytest.mark.parametrize(
        ("language", "spelled", "digits"),
        [
            ("en", "One two three nine ten.", "1, 2, 3, 9, 10"),
            ("en", "One two three four ten.", "123410"),
            ("es", "Uno dos tres diez.", "1, 2, 3, 10."),
            ("hi", "एक दो तीन दस.", "1-2-3-10"),
            ("zh", "一二三十。", "12310"),
        ],
    )
    def test_numbers_are_alike_spelled_or_in_digits(
        self, language: str, spelled: str, digits: str
    ) -> None:
        assert text.score(spelled, digits, language, numbers_alike=True).edits == 0


REFERENCE = ["the", "quick", "brown", "fox", "jumps", "over"]


class TestAlign:
    def test_every_word_once(self) -> None:
        assert text.align(REFERENCE, REFERENCE) == text.Alignment(words=6)

    def test_lost_words(self) -> None:
        assert text.align(REFERENCE, REFERENCE[2:]) == text.Alignment(words=6, lost=2)

    def test_nothing_heard_loses_all(self) -> None:
        assert text.align(REFERENCE, []) == text.Alignment(words=6, lost=6)

    @pytest.mark.parametrize("doubled", [["fox"], ["brown", "fox"]])
    def test_a_phrase_that_comes_twice_is_doubled(self, doubled: list[str]) -> None:
        heard = [*REFERENCE[:4], *doubled, *REFERENCE[4:]]

        assert text.align(REFERENCE, heard) == text.Alignment(words=6, doubled=len(doubled))

    def test_a_word_said_nowhere_near_is_invented(self) -> None:
        heard = [*REFERENCE, "thanks", "for", "watching"]

        assert text.align(REFERENCE, heard) == text.Alignment(words=6, invented=3)

    def test_another_word_is_changed(self) -> None:
        heard = ["a", *REFERENCE[1:]]

        assert text.align(REFERENCE, heard) == text.Alignment(words=6, changed=1)


@pytest.mark.parametrize(
    ("heard", "count"), [("", 0), (" . ♪ ", 0), ("Thank you.", 2), ("谢谢 观看", 4)]
)
def test_words_are_counted_in_any_script(heard: str, count: int) -> None:
    assert text.count_words(heard) == count


class TestCorpus:
    def test_speech_bounds_are_found_by_energy(self) -> None:
        assert CLIPS[0].speech == pytest.approx((0.3, 1.5), abs=0.02)

    def test_a_folder_of_clips_is_read_with_its_texts(self, tmp_path: Path) -> None:
        folder = tmp_path / "en"
        folder.mkdir()
        (folder / "hello.flac").write_bytes(corpus.encode_flac(CLIPS[0].samples))
        (folder / "hello.txt").write_text("Hello world.\n", encoding="utf-8")
        (folder / "without_text.flac").write_bytes(b"")

        (clip,) = corpus.load_clips(tmp_path)

        assert (clip.name, clip.language, clip.reference) == ("en/hello", "en", "Hello world.")
        assert clip.seconds == pytest.approx(2.0)

    def test_a_folder_without_clips_ends_the_run(self, tmp_path: Path) -> None:
        with pytest.raises(SystemExit, match="no clips"):
            corpus.load_clips(tmp_path)

    def test_flac_keeps_every_sample(self) -> None:
        samples = (np.arange(-20_000, 20_000) / 32767).astype(np.float32)

        decoded = corpus.decode_audio(io.BytesIO(corpus.encode_flac(samples)))

        # FLAC's 16 bits are read against 32768, one more than full scale is written with.
        np.testing.assert_allclose(decoded, samples, atol=1 / 32768)


def test_sounds_are_the_same_for_the_same_seed_and_in_range() -> None:
    first, again = sounds.non_speech(2.0, seed=7), sounds.non_speech(2.0, seed=7)

    assert len(first) > 12
    for name, samples in first.items():
        assert len(samples) == 2 * RATE, name
        assert samples.dtype == np.float32, name
        assert np.abs(samples).max() <= 1, name
        np.testing.assert_array_equal(samples, again[name])


class TestJoin:
    def test_knows_where_the_speech_is(self) -> None:
        recording = joined.join(CLIPS[:2], [5.0])

        first, second = recording.placed
        assert recording.seconds == pytest.approx(9.0)
        assert (first.start, first.end) == pytest.approx(CLIPS[0].speech)
        assert second.start == pytest.approx(7.0 + CLIPS[1].speech[0])
        assert recording.reference == "Hello world. One two three."

    def test_ten_clips_use_every_gap_and_never_one_twice_running(self) -> None:
        recording = joined.shuffled_join(CLIPS, random.Random(3))

        names = [placed.clip.name for placed in recording.placed]
        assert len(names) == 10
        assert recording.seconds == pytest.approx(20 + sum(joined.GAPS))
        assert all(one != other for one, other in itertools.pairwise(names))

    def test_orders_differ_and_can_be_made_again(self) -> None:
        def order(rng: random.Random) -> list[float]:
            return [placed.start for placed in joined.shuffled_join(CLIPS, rng).placed]

        rng = random.Random(1)
        assert order(rng) != order(rng)
        assert order(random.Random(2)) == order(random.Random(2))

    def test_a_clip_stands_in_the_middle(self) -> None:
        recording, there = joined.around(CLIPS[1], CLIPS, 300, random.Random(0))

        assert there.clip is CLIPS[1]
        assert there.start == pytest.approx(recording.seconds / 2, abs=30)
        assert recording.seconds == pytest.approx(300, abs=60)


class TestBounds:
    RECORDING = joined.join(CLIPS, [1.0, 20.0])  # speech at 0.3–1.5, 3.3–4.5 and 25.3–26.5

    def test_exact_segments_have_no_error(self) -> None:
        exact = pieces((0.3, 1.5, "a"), (3.3, 4.5, "b"), (25.3, 26.5, "c"))

        errors = joined.bound_errors(self.RECORDING, exact)

        for error in errors:
            assert error is not None
            assert (error.start, error.end) == pytest.approx((0, 0), abs=0.02)

    def test_a_clip_in_two_segments_has_the_outer_bounds(self) -> None:
        (first, *_) = joined.bound_errors(
            self.RECORDING, pieces((0.2, 0.9, "Hello"), (0.9, 1.7, "world."))
        )

        assert first is not None
        assert (first.start, first.end) == pytest.approx((0.1, 0.2), abs=0.02)

    def test_a_neighbour_that_runs_over_does_not_count(self) -> None:
        second = self.RECORDING.placed[1]

        found = joined.pieces_of(second, pieces((0.3, 3.5, "a"), (3.5, 4.5, "b")))

        assert [piece.text for piece in found] == ["b"]

    def test_a_segment_over_two_clips_holds_both(self) -> None:
        errors = joined.bound_errors(self.RECORDING, pieces((0.3, 4.5, "a b")))

        assert errors[0] is not None
        assert errors[0].end == pytest.approx(3.0, abs=0.02)
        assert errors[1] is not None
        assert errors[1].start == pytest.approx(3.0, abs=0.02)
        assert errors[2] is None


@pytest.mark.parametrize(
    ("here", "kind"),
    [
        ("hello world", long.SAME),
        ("good bye hello world", long.AMONG_OTHERS),
        ("hello good world", long.DIFFERENT),
        ("", long.DIFFERENT),
    ],
)
def test_a_text_in_a_long_recording_is_compared_with_the_text_alone(here: str, kind: str) -> None:
    assert long.compare(["hello", "world"], here.split()) == kind


class Told:
    """A system that says what it is told to, and whether a language was named."""

    def __init__(self, name: str, *answers: Answer) -> None:
        self.name = name
        self.asked: list[str | None] = []
        self._answers = answers

    def transcribe(self, audio: bytes, language: str | None, seed: int = 0) -> Answer:
        self.asked.append(language)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


def test_seams_of_the_service_have_goals() -> None:
    system = Told("whisper-service", Answer("Hello", "en", pieces((0.3, 1.5, " Hello")), 0.1))

    section = long.seams([system], CLIPS, ["en"], orders=2, seed=0)

    assert system.asked == [None, "en", None, "en"]
    goals = {goal.name: goal for goal in section.goals}
    assert not goals["English words lost in joined clips"].kept
    assert goals["English words doubled in joined clips"].kept
    assert goals["joined clips that no segment holds"].value == 4 * 9
    assert len(section.rows) == 2


def test_no_segments_at_all_do_not_keep_the_goal_of_bounds() -> None:
    section = long.seams(
        [Told("whisper-service", Answer("", "en", (), 0.1))], CLIPS, ["en"], orders=1, seed=0
    )

    (bounds,) = [goal for goal in section.goals if goal.name.startswith("mean error")]
    assert not bounds.kept


def test_a_crowd_mixes_clips_formats_languages_and_prompts() -> None:
    requests = crowd.mixed_requests(CLIPS, 40, random.Random(0))

    assert len(requests) == 40
    assert {request.fields["response_format"] for request in requests} == set(crowd.FORMATS)
    assert {request.clip.name for request in requests} == {clip.name for clip in CLIPS}
    for field in ("language", "prompt"):
        assert {field in request.fields for request in requests} == {True, False}


class TestReport:
    def test_columns_line_up_with_wide_characters(self) -> None:
        lines = table(("clip", "text"), [("ja", "世界"), ("en", "world")]).splitlines()

        assert lines == [
            "| clip | text  |",
            "|------|-------|",
            "| ja   | 世界  |",
            "| en   | world |",
        ]

    def test_a_pipe_in_a_text_stays_in_its_cell(self) -> None:
        assert table(("text",), [("a|b",)]).splitlines()[-1] == r"| a\|b |"

    def test_numbers_and_missing_values(self) -> None:
        section = Section("Title", ("a", "b"), [(1 / 3, None)], {}, notes=["A note."])

        assert render(section).splitlines()[-3:] == ["| 0.33 | – |", "", "A note."]

    def test_a_goal_is_kept_up_to_its_limit(self) -> None:
        assert Goal("points above", 0.3, 0.3).kept
        assert "MISSED" in render_goals([Goal("words", 1, 0)])


def test_languages_are_named_in_english_or_by_code() -> None:
    named = [systems.language_code(name) for name in ("english", "Polish", "pl")]

    assert named == ["en", "pl", "pl"]
