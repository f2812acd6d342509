"""Subtitles that follow the words: karaoke, highlights, and cues of limited length."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_service.domain import Segment, Word
from whisper_service.formats.line_breaks import is_visible
from whisper_service.formats.long_segments import cut_long
from whisper_service.formats.subtitles import Cue, SubtitleOptions, make_cues, to_srt, to_vtt

WORDS = SubtitleOptions(words=True)

some = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def spoken(*words: tuple[str, float, float]) -> Segment:
    """A segment of these words."""
    made = tuple(Word(text, start, end, 0.9) for text, start, end in words)
    text = "".join(word.word for word in made)
    return Segment(0, 0, made[0].start, made[-1].end, text, (), 0.0, -0.2, 1.0, 0.0, made)


HELLO = spoken((" Hello,", 1.0, 1.4), (" big", 1.6, 1.8), (" world.", 1.8, 2.5))


def test_vtt_has_a_time_before_each_word_but_the_first() -> None:
    assert to_vtt(make_cues([HELLO], WORDS)) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHello, <00:00:01.600>big <00:00:01.800>world.\n"
    )


def test_srt_underlines_the_word_that_is_spoken_and_none_in_a_pause() -> None:
    contents = [
        (cue.start.total_seconds(), cue.end.total_seconds(), cue.content)
        for cue in srt.parse(to_srt(make_cues([HELLO], WORDS)))
    ]
    assert contents == [
        (1.0, 1.4, "<u>Hello,</u> big world."),
        (1.4, 1.6, "Hello, big world."),
        (1.6, 1.8, "Hello, <u>big</u> world."),
        (1.8, 2.5, "Hello, big <u>world.</u>"),
    ]


def test_without_word_times_subtitles_are_as_ever() -> None:
    plain = SubtitleOptions()
    cues = make_cues([HELLO], plain)
    assert to_srt(cues) == "1\n00:00:01,000 --> 00:00:02,500\nHello, big world.\n"
    assert "<" not in to_vtt(cues)


def test_a_segment_without_words_is_shown_as_a_whole() -> None:
    segment = Segment(0, 0, 1.0, 2.5, " Hello.", (), 0.0, -0.2, 1.0, 0.0)
    assert to_vtt(make_cues([segment], WORDS)) == to_vtt(make_cues([segment], SubtitleOptions()))


def test_a_word_keeps_its_escapes_and_its_arrows() -> None:
    segment = spoken((" a<b", 0.0, 1.0), (" -->", 1.0, 2.0))
    cues = make_cues([segment], WORDS)
    assert "a&lt;b <00:00:01.000>--&gt;" in to_vtt(cues)
    assert "a<b <u>→</u>" in to_srt(cues)


def test_a_word_that_is_on_two_lines_is_underlined_on_both() -> None:
    segment = spoken((" Donaudampfschifffahrt", 0.0, 2.0), (" fährt", 2.0, 3.0))
    (cue, *_) = make_cues([segment], SubtitleOptions(max_line_chars=14, words=True))
    text = to_srt([cue]).split("\n\n")[0]
    assert text.count("<u>") == text.count("</u>") == 2


texts = st.sampled_from(
    [
        "the",
        "a",
        "12",
        "naïve",
        "日本",
        "학교",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "क्षि",
        "-->",
        "<u>",
        "&",
        ".",
        "สวัสดี",
    ]
)


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    made, now = [], 0.0
    for _ in range(draw(st.integers(1, 3))):
        words = []
        for text in draw(st.lists(texts, min_size=1, max_size=12)):
            start = now + draw(st.sampled_from([0.0, 0.0, 0.5, 3.0]))
            now = start + draw(st.sampled_from([0.02, 0.3, 2.0]))
            words.append((draw(st.sampled_from([" ", " ", ""])) + text, start, now))
        made.append(spoken(*words))
    return made


layouts = st.builds(
    SubtitleOptions,
    max_line_chars=st.integers(4, 42),
    max_lines=st.integers(1, 3),
    max_seconds=st.none() | st.floats(0.5, 8),
    words=st.booleans(),
)


def ink(text: str) -> str:
    return "".join(filter(is_visible, text))


def plain(cues: Sequence[Cue]) -> str:
    return ink("".join(line for cue in cues for line in cue.lines))


@some
@given(segments(), layouts)
def test_whatever_is_marked_the_text_is_the_same_and_times_are_in_order(
    transcript: list[Segment], options: SubtitleOptions
) -> None:
    cues = make_cues(transcript, options)
    assert plain(cues) == ink("".join(segment.text for segment in transcript))
    for cue, following in pairwise(cues):
        assert cue.start < cue.end <= following.start
    for cue in cues:
        last = cue.start
        for word in cue.words:
            assert last <= word.start < word.end <= cue.end
            last = word.end


@some
@given(segments(), layouts)
def test_vtt_with_times_is_vtt(transcript: list[Segment], options: SubtitleOptions) -> None:
    cues = make_cues(transcript, options)
    body = to_vtt(cues)
    shown = webvtt.from_string(body, strict=True) if cues else []
    assert len(shown) == len(cues)
    for caption, cue in zip(shown, cues, strict=True):
        times = re.findall(r"<(\d\d:\d\d:\d\d\.\d{3})>", caption.raw_text)
        assert times == sorted(set(times))
        assert all(caption.start < time < caption.end for time in times)
        bare = re.sub(r"<\d\d:[^>]*>", "", caption.raw_text)
        assert "<" not in bare
        assert bare.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == "\n".join(
            cue.lines
        )


@some
@given(segments(), layouts)
def test_srt_with_highlights_covers_the_same_time_without_a_gap(
    transcript: list[Segment], options: SubtitleOptions
) -> None:
    cues = make_cues(transcript, options)
    parsed = list(srt.parse(to_srt(cues)))
    times = [
        (round(each.start.total_seconds() * 1000), round(each.end.total_seconds() * 1000))
        for each in parsed
    ]
    assert all(start < end for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert sum(end - start for start, end in times) == sum(cue.end - cue.start for cue in cues)


@some
@given(segments(), st.floats(0.5, 10))
def test_a_cue_is_not_longer_than_asked_but_for_a_single_word(
    transcript: list[Segment], seconds: float
) -> None:
    cut = list(cut_long(transcript, seconds))
    assert "".join(each.text for each in cut) == "".join(each.text for each in transcript)
    for each in cut:
        assert each.words is not None
        assert each.end - each.start <= seconds + 1e-6 or len(each.words) == 1


def test_a_long_segment_is_cut_where_its_speaker_pauses_or_a_clause_ends() -> None:
    words = [(f" w{i}", i * 0.5, i * 0.5 + 0.4) for i in range(20)]
    words[8] = (" w8,", 4.0, 4.4)
    first, second = cut_long([spoken(*words)], 7.0)
    assert first.text.endswith("w8,")
    assert (first.end, second.start) == (4.4, 4.5)
    paused = [(text, start + (2.0 if i > 5 else 0), end + (2.0 if i > 5 else 0))
              for i, (text, start, end) in enumerate(words)]  # fmt: skip
    assert next(iter(cut_long([spoken(*paused)], 11.0))).text.endswith("w5")


def test_a_segment_without_words_is_cut_by_its_length() -> None:
    text = " one two three four five six seven eight"
    segment = Segment(0, 0, 0.0, 8.0, text, (), 0.0, -0.2, 1.0, 0.0)
    cut = list(cut_long([segment], 3.0))
    assert "".join(each.text for each in cut) == text
    assert all(each.words is None and each.end - each.start <= 3.0 for each in cut)
    assert cut[0].start == 0.0


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_nothing_is_shown_for_no_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="laid out"):
        SubtitleOptions(max_seconds=seconds)


MARKED = {
    "Thai": ("ที่นี่ไม่มี", ["ท", "ี่", "น", "ี่", "ไม", "่", "ม", "ี"]),
    "Hindi": (" किताब", [" क", "ि", "त", "ाब"]),
    "Tamil": (" பேசு", [" ப", "ே", "ச", "ு"]),
    "Bengali": (" কথা", [" ক", "থ", "া"]),
    "Khmer": ("ស្រី", ["ស", "្រ", "ី"]),
    "accents": (" e\u0301te\u0301", [" e", "\u0301t", "e", "\u0301"]),
}


@pytest.mark.parametrize(
    "options",
    [
        WORDS,
        SubtitleOptions(3, 1, words=True),
        SubtitleOptions(max_seconds=0.4),
        SubtitleOptions(words=True, max_seconds=0.4),
    ],
)
@pytest.mark.parametrize("script", MARKED)
def test_no_cue_and_no_tag_begins_with_a_combining_mark(
    script: str, options: SubtitleOptions
) -> None:
    text, parts = MARKED[script]
    assert "".join(parts) == text
    segment = spoken(*((part, i * 0.5, i * 0.5 + 0.5) for i, part in enumerate(parts)))
    cues = make_cues([segment], options, 60.0)
    assert "".join("".join(cue.lines) for cue in cues) == text.strip()
    for written in (to_vtt(cues), to_srt(cues)):
        pieces = re.split(r"<[^>]*>|\n", written)
        assert not [piece for piece in pieces if piece and unicodedata.category(piece[0])[0] == "M"]
