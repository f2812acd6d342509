from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_service.domain import Segment, Word
from whisper_service.formats.line_breaks import char_width, is_visible, tidy
from whisper_service.formats.sanitize import milliseconds
from whisper_service.formats.subtitles import Cue, SubtitleOptions, make_cues, to_srt, to_vtt

OPTIONS = SubtitleOptions()

# No deadline, for the machine may be busy.
some = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def segment(
    text: str, start: float = 0.0, end: float = 5.0, words: tuple[Word, ...] | None = None
) -> Segment:
    return Segment(0, 0, start, end, text, (), 0.0, -0.2, 1.0, 0.0, words)


def word(text: str, start: float, end: float) -> Word:
    return Word(text, start, end, 1.0)


def lines_of(text: str, options: SubtitleOptions = OPTIONS) -> list[tuple[str, ...]]:
    return [cue.lines for cue in make_cues([segment(text)], options)]


def width(line: str) -> int:
    return sum(map(char_width, line))


def ink(text: str) -> str:
    """Everything that can be seen, without the spaces."""
    return "".join(filter(is_visible, text))


# --- Any transcript ---------------------------------------------------------------------------

TROUBLE = (
    "-->",
    "- >",
    "00:00:01,000 --> 00:00:02,000",
    "10:30:15",
    "1,2,3",
    "1984",
    "<i>",
    "</v>",
    "&amp;",
    "&",
    "NOTE",
    "STYLE",
    "WEBVTT",
    "\n\n",
    "\r",
    "\x00",
    "\x1b[0m",
    "\u2028",
    "\x85",
    "\u00a0",
    "\u200b",
    "\u200e",
    "\ufeff",
    "\u0301",
    "مرحبا",
    "שלום",
    "👩‍👩‍👧‍👦",
    "🇩🇪🇫🇷",
    "👍🏽",
    "ｱﾊﾟｰﾄ",
    "こんにちは、世界。",
    "「学校」へ行った",
    "我们去看电影吧！",
    "สวัสดีครับ",
    "မြန်မာနိုင်ငံ",
    "각",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbau",
)
pieces = st.sampled_from(TROUBLE) | st.text(max_size=6) | st.sampled_from(["the", "subtitle,"])
texts = st.lists(st.tuples(pieces, st.sampled_from(["", " ", "  "])), max_size=16).map(
    lambda pairs: "".join(piece + space for piece, space in pairs)
)
times = (
    st.floats(0, 60)
    | st.integers(0, 30).map(float)
    | st.floats(360_000, 4_000_000)
    | st.sampled_from([math.nan, math.inf, -1.0])
)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    text = draw(texts)
    start, end = draw(times), draw(times)
    if not draw(st.booleans()):
        return segment(text, start, end)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10)))
    parts = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    spans = [(draw(times), draw(times)) for _ in parts]
    return segment(text, start, end, tuple(word(p, *s) for p, s in zip(parts, spans, strict=True)))


transcripts = st.lists(segments(), max_size=4)
layouts = st.builds(
    SubtitleOptions,
    max_line_chars=st.integers(1, 50),
    max_lines=st.integers(1, 3),
    min_seconds=st.sampled_from([0.0, 0.7]),
)


@given(transcripts, layouts)
@some
def test_every_cue_has_text_and_time_and_none_overlaps_the_next(
    transcript: list[Segment], options: SubtitleOptions
) -> None:
    cues = make_cues(transcript, options)
    for cue in cues:
        assert type(cue.start) is type(cue.end) is int
        assert 0 <= cue.start < cue.end
        assert 1 <= len(cue.lines) <= options.max_lines
        assert all(is_visible(line) and line == line.strip() for line in cue.lines)
    for cue, following in pairwise(cues):
        assert cue.end <= following.start


@given(transcripts, layouts)
@some
def test_no_text_is_lost_or_doubled(transcript: list[Segment], options: SubtitleOptions) -> None:
    shown = "".join(line for cue in make_cues(transcript, options) for line in cue.lines)
    in_order = sorted(transcript, key=lambda segment: milliseconds(segment.start))
    assert ink(shown) == ink("".join(segment.text for segment in in_order))


@given(texts, layouts)
@some
def test_a_line_is_too_wide_only_where_nothing_can_break_it(
    text: str, options: SubtitleOptions
) -> None:
    for lines in lines_of(text, options):
        for line in lines:
            if width(line) > options.max_line_chars:
                # all of it is one character to the eye, with what joins to it
                assert lines_of(line, SubtitleOptions(max_line_chars=1)) == [(line,)]


@given(transcripts)
@some
def test_srt_reads_the_same_in_two_parsers(transcript: list[Segment]) -> None:
    cues = make_cues(transcript, OPTIONS)
    body = to_srt(cues)
    body.encode()
    expected = [(cue.start, cue.end, re.sub("-[- ]+>", "→", "\n".join(cue.lines))) for cue in cues]

    strict = list(srt.parse(body))
    assert [s.index for s in strict] == list(range(1, len(cues) + 1))
    assert [_srt_cue(s) for s in strict] == expected
    assert all(srt.make_legal_content(s.content) == s.content for s in strict)
    assert srt.compose(strict, reindex=True, strict=True).strip() == body.strip()

    if cues:
        second = webvtt.from_buffer(io.StringIO(body), format="srt")
        assert [_webvtt_cue(caption) for caption in second] == expected


@given(transcripts)
@some
def test_vtt_reads_the_same_in_two_parsers(transcript: list[Segment]) -> None:
    cues = make_cues(transcript, OPTIONS)
    body = to_vtt(cues)
    assert read_webvtt(body.encode()) == [(c.start, c.end, "\n".join(c.lines)) for c in cues]

    second = webvtt.from_string(body, strict=True)
    assert [_webvtt_cue(caption, unescape=True) for caption in second] == read_webvtt(body.encode())


def _srt_cue(subtitle: srt.Subtitle) -> tuple[int, int, str]:
    times = (subtitle.start, subtitle.end)
    start, end = (t.days * 86_400_000 + t.seconds * 1000 + t.microseconds // 1000 for t in times)
    return start, end, subtitle.content


def _webvtt_cue(caption: webvtt.Caption, *, unescape: bool = False) -> tuple[int, int, str]:
    start, end = (_milliseconds(time) for time in (caption.start, caption.end))
    return start, end, _unescape(caption.raw_text) if unescape else caption.raw_text


def read_webvtt(body: bytes) -> list[tuple[int, int, str]]:
    """A WebVTT file by the letter of the format's syntax; anything else is an error.

    https://www.w3.org/TR/webvtt1/#syntax, of which only plain cues are accepted.
    """
    text = body.decode("utf-8", "strict")
    assert "\x00" not in text
    assert "\r" not in text
    header, *blocks = re.split(r"\n\n+", text.removesuffix("\n"))
    assert header == "WEBVTT"
    cues = []
    for block in blocks:
        timing, *payload = block.split("\n")
        match = re.fullmatch(r"(\d{2,}:\d\d:\d\d\.\d{3}) --> (\d{2,}:\d\d:\d\d\.\d{3})", timing)
        assert match, timing
        start, end = map(_milliseconds, match.groups())
        assert start < end
        assert not cues or cues[-1][0] <= start
        assert payload
        assert all(payload)
        assert not any("-->" in line or "<" in line or ">" in line for line in payload)
        cues.append((start, end, _unescape("\n".join(payload))))
    return cues


def _milliseconds(timestamp: str) -> int:
    hours, minutes, seconds, fraction = map(int, re.split("[:.]", timestamp))
    assert minutes < 60
    assert seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction


def _unescape(text: str) -> str:
    known = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
    return re.sub("&[^;]*;?", lambda reference: known[reference[0]], text)


# --- How it reads -----------------------------------------------------------------------------


def test_a_short_segment_is_one_line() -> None:
    assert lines_of(" He said it was fine.") == [("He said it was fine.",)]


def test_a_longer_one_is_two_lines_of_about_equal_length() -> None:
    assert lines_of(" This is a sentence of about fifty characters, yes.") == [
        ("This is a sentence of about", "fifty characters, yes.")
    ]


def test_no_word_is_left_alone_on_the_last_line() -> None:
    text = "The committee will meet again on Thursday afternoon at the usual place in town"
    for extra in ("", " hall", " hall then", " hall then as always"):
        for lines in lines_of(text + extra):
            assert min(map(width, lines)) > 10


def test_more_than_two_lines_become_several_cues() -> None:
    text = (
        " And so, my fellow Americans, ask not what your country can do for you,"
        " ask what you can do for your country."
    )
    assert lines_of(text) == [
        ("And so, my fellow Americans, ask not", "what your country can do for you,"),
        ("ask what you can do for your country.",),
    ]


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyzäß.,'", min_size=1, max_size=20), min_size=1))
@some
def test_words_are_never_cut(words: list[str]) -> None:
    lines = [line for lines in lines_of(" ".join(words)) for line in lines]
    assert " ".join(lines) == " ".join(words)
    assert max(map(width, lines)) <= 42


def test_a_word_longer_than_a_line_is_cut() -> None:
    cues = lines_of("https://example.com/" + "x" * 100)
    assert "".join(line for lines in cues for line in lines) == "https://example.com/" + "x" * 100
    assert max(width(line) for lines in cues for line in lines) <= 42


def test_japanese_breaks_after_a_phrase_and_never_before_a_closing_mark() -> None:
    text = "昨日の夜、友達と一緒に映画を見に行きました。とても面白かったので、もう一度見たいです。"
    lines = [line for lines in lines_of(text) for line in lines]
    assert "".join(lines) == text
    assert max(map(width, lines)) <= 42
    assert not any(line[0] in "、。っょーをは" for line in lines)
    assert any(line.endswith("。") for line in lines[:-1])


@given(st.lists(st.text("あかン学校東京ーっ", min_size=1, max_size=15), min_size=1))
@some
def test_east_asian_punctuation_stays_where_it_belongs(phrases: list[str]) -> None:
    text = "".join(f"「{phrase}。」" for phrase in phrases)
    lines = [line for lines in lines_of(text) for line in lines]
    assert "".join(lines) == text
    assert not any(line[0] in "。」" or line[-1] == "「" for line in lines)


def test_chinese_quotation_marks_keep_to_what_they_quote() -> None:
    text = "然后他对我说：“你应该早点告诉我，我也想和你们一起去。”我们就回家了，什么也没有再说过。"
    lines = [line for lines in lines_of(text) for line in lines]
    assert "".join(lines) == text
    assert not any(line[0] in "，。：”" or line[-1] == "“" for line in lines)


def test_thai_vowels_and_tones_stay_with_their_consonants() -> None:
    text = "เมื่อวานนี้ผมไปดูหนังกับเพื่อนที่ห้างสรรพสินค้าและหลังจากนั้นเราก็ไปกินข้าวด้วยกันที่ร้านอาหารญี่ปุ่น"
    lines = [line for lines in lines_of(text) for line in lines]
    assert "".join(lines) == text
    assert len(lines) > 1
    assert not any(line[-1] in "เแโใไ" or line[0] in "ะาำั็่้๊๋์ิีึืุู" for line in lines)


def test_emoji_flags_and_accents_are_never_cut() -> None:
    family, flag, thumb, accented = "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "e\u0301"
    for whole in (family, flag, thumb, accented):
        lines = [line for lines in lines_of(whole * 90) for line in lines]
        assert len(lines) > 1
        assert all(line == whole * (len(line) // len(whole)) for line in lines)


def test_french_punctuation_keeps_to_its_word() -> None:
    for space in (" ", "\u00a0", "\u202f"):
        text = f"Elle lui demanda s'il viendrait demain «{space}ou jamais{space}?{space}» et rit."
        for lines in lines_of(text):
            assert not any(line[0] in "?»" or line[-1] == "«" for line in lines)


def test_wide_characters_count_double() -> None:
    assert lines_of("東" * 21) == [("東" * 21,)]
    assert lines_of("東" * 22) == [("東" * 11, "東" * 11)]


def test_line_ends_and_control_characters_in_the_text_become_one_space_or_nothing() -> None:
    assert lines_of("one\r\n\r\ntwo\u2028three\x00\x07 \t four\ufeff") == [("one two three four",)]


def test_a_segment_without_visible_text_has_no_cue() -> None:
    for text in ("", "   ", "\n\n", "\u200b\u200e", "\x00", "\u00a0"):
        assert lines_of(text) == []


def test_tidy_text_is_left_alone() -> None:
    for text in ("as it is", "一　二", "10\u00a0000 francs", "क्‍ष"):
        assert tidy(text) == text


# --- When it is shown -------------------------------------------------------------------------

TWO_CUES = (
    " Seventeen words follow here so that this text needs more than two lines and is cut in two."
)


def spans(cues: Sequence[Cue]) -> list[tuple[int, int]]:
    return [(cue.start, cue.end) for cue in cues]


def test_a_cue_has_its_segments_times() -> None:
    assert spans(make_cues([segment("One.", 1.0, 2.5), segment("Two.", 3.32, 4.0)], OPTIONS)) == [
        (1000, 2500),
        (3320, 4020),  # held for 0.7 s
    ]


def test_several_cues_share_a_segments_time_by_their_lengths() -> None:
    first, second = make_cues([segment(TWO_CUES, 10.0, 20.0)], OPTIONS)
    lengths = [len(ink("".join(cue.lines))) for cue in (first, second)]
    assert (first.start, second.end) == (10_000, 20_000)
    assert first.end == second.start == 10_000 + round(10_000 * lengths[0] / sum(lengths))


def test_several_cues_share_a_segments_time_by_its_words_times() -> None:
    words = tuple(
        word(text, 10 + 0.5 * i, 10 + 0.5 * i + 0.4)
        for i, text in enumerate(re.findall(r"\s*\S+", TWO_CUES))
    )
    first, second = make_cues([segment(TWO_CUES, 10.0, 20.0, words)], OPTIONS)
    count = len(" ".join(first.lines).split())
    assert first.start == 10_000
    assert first.end == 10_000 + 500 * (count - 1) + 400
    assert second.start == 10_000 + 500 * count
    assert second.end == 20_000


def test_a_cue_of_quick_words_stays_on_the_screen_while_nobody_speaks() -> None:
    texts = re.findall(r"\s*\S+", TWO_CUES)
    count = len(" ".join(make_cues([segment(TWO_CUES)], OPTIONS)[0].lines).split())
    quick = [word(text, 10.0, 10.3) for text in texts[:count]]
    late = [word(text, 12.0, 13.0) for text in texts[count:]]
    cues = make_cues([segment(TWO_CUES, 10.0, 13.0, (*quick, *late))], OPTIONS)
    assert spans(cues) == [(10_000, 10_700), (12_000, 13_000)]


def test_words_that_are_not_the_segments_text_are_not_believed() -> None:
    wrong = (word(" Something", 10, 11), word(" else.", 11, 12))
    assert spans(make_cues([segment(TWO_CUES, 10.0, 20.0, wrong)], OPTIONS)) == spans(
        make_cues([segment(TWO_CUES, 10.0, 20.0)], OPTIONS)
    )


def test_a_segment_that_overlaps_the_next_one_ends_where_that_starts() -> None:
    assert spans(make_cues([segment("One.", 0.0, 5.0), segment("Two.", 3.0, 6.0)], OPTIONS)) == [
        (0, 3000),
        (3000, 6000),
    ]


def test_a_segment_without_length_is_shown_as_long_as_there_is_time() -> None:
    last = segment("Two.", 5.0, 5.0)
    assert spans(make_cues([segment("One.", 1.0, 1.0), last], OPTIONS)) == [
        (1000, 1700),
        (5000, 5700),
    ]
    assert spans(make_cues([segment("One.", 4.8, 4.8), last], OPTIONS))[0] == (4800, 5000)


NARROW = SubtitleOptions(max_line_chars=8, max_lines=1)
COUNTED = " One, two, three, four, five, six, seven, eight, nine, ten."


@pytest.mark.parametrize("options", [NARROW, OPTIONS, SubtitleOptions(1, 1), SubtitleOptions(4, 2)])
@pytest.mark.parametrize("end", [0.02, 0.5, 1.3, 2.48, 2.87, 9.0])
@pytest.mark.parametrize("with_words", [False, True])
def test_no_cue_ends_behind_the_file_or_long_behind_its_speech(options, end, with_words) -> None:
    texts = re.findall(r"\s*\S+", COUNTED)
    step = end / len(texts)
    words = tuple(word(text, i * step, (i + 1) * step) for i, text in enumerate(texts))
    said = segment(COUNTED, 0.0, end, words if with_words else None)
    cues = make_cues([said], options, 2.87)
    assert "".join("".join(cue.lines) for cue in cues).replace(" ", "") == ink(COUNTED)
    assert cues[-1].end <= 2870
    assert cues[-1].end <= max(end * 1000, len(cues)) + 700
    assert all(before.end <= after.start for before, after in pairwise(cues))
    assert all(cue.start < cue.end for cue in cues)
    if end <= 2.87:
        assert cues[-1].end == pytest.approx(
            min(2870, max(end * 1000, cues[-1].start + 700)), abs=50
        )


def test_the_last_cue_of_many_is_held_and_the_others_share_the_speech() -> None:
    cues = make_cues([segment(COUNTED, 0.0, 2.0)], NARROW, 60.0)
    assert len(cues) > 4
    assert cues[-1].end == cues[-1].start + 700
    assert cues[-1].start < 2000


def test_a_segment_at_the_very_end_of_its_file_still_takes_time() -> None:
    cues = make_cues([segment("One. Two.", 2.87, 2.87)], SubtitleOptions(4, 1), 2.87)
    assert [(cue.start, cue.end) for cue in cues] == [(2868, 2869), (2869, 2870)]


def test_segments_out_of_order_are_put_in_order() -> None:
    cues = make_cues([segment("Two.", 3.0, 4.0), segment("One.", 1.0, 2.0)], OPTIONS)
    assert [cue.lines for cue in cues] == [("One.",), ("Two.",)]


# --- How it is written ------------------------------------------------------------------------


def test_srt_to_the_letter() -> None:
    cues = make_cues([segment(" Hello.", 0.0, 1.5), segment(" Good --> bye.", 2.0, 3.0)], OPTIONS)
    assert to_srt(cues) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n"
        "\n"
        "2\n00:00:02,000 --> 00:00:03,000\nGood → bye.\n"
    )


def test_vtt_to_the_letter() -> None:
    cues = make_cues([segment(" Hello.", 0.0, 1.5), segment(" <b> & --> x", 2.0, 3.0)], OPTIONS)
    assert to_vtt(cues) == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:01.500\nHello.\n"
        "\n00:00:02.000 --> 00:00:03.000\n&lt;b&gt; &amp; --&gt; x\n"
    )


def test_silence_is_an_empty_srt_and_a_vtt_without_cues() -> None:
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"
    assert list(srt.parse("")) == []
    assert len(webvtt.from_string("WEBVTT\n", strict=True)) == 0


def test_hours_go_on_after_ninety_nine() -> None:
    cues = make_cues([segment("Still here.", 100 * 3600, 100 * 3600 + 1)], OPTIONS)
    assert "100:00:00,000 --> 100:00:01,000" in to_srt(cues)
    assert "100:00:00.000 --> 100:00:01.000" in to_vtt(cues)


def test_a_times_rounding_never_shows_sixty_seconds() -> None:
    cues = make_cues([segment("Almost.", 59.9996, 3599.9999)], OPTIONS)
    assert "00:01:00,000 --> 01:00:00,000" in to_srt(cues)


@pytest.mark.parametrize("wrong", [{"max_line_chars": 0}, {"max_lines": 0}, {"min_seconds": -1}])
def test_a_layout_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no subtitle can be laid out so"):
        SubtitleOptions(**wrong)
