"""The comparison with openai/whisper: that it sees what differs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faster_whisper")
sys.path.append(str(Path(__file__).parents[3] / "scripts"))

from reference.answers import Answers, Decoded, File, Timed, Tokenizing, read_answers
from reference.cases import Cases, as_samples, read_cases
from reference.compare import CHECKS, compare

PCM = np.array([0, 16_384, -32_768], np.int16)
CASES = Cases(
    windows={"en/a": PCM},
    clips={"en/c": PCM},
    readings={"1 min": PCM},
    languages={"en/a": "en", "en/c": "en"},
    prompted_windows=[("en/a", "Names: Ärger")],
    prompted_clips=[("en/c", "Das ist Deutsch.")],
    texts=["the text"],
    previous=(0, 3),
)
DECODED = Decoded(
    "en", [7, 1, 8], finished=True, avg_logprob=-0.25, no_speech_prob=0.01, decoder_prompt=[5],
    probabilities={"en": 0.9, "de": 0.1},
)  # fmt: skip
FILE = File("en", "Hello world.", [Timed(" Hello world.", 0.0, 1.0)],
            [Timed(" Hello", 0.0, 0.4), Timed(" world.", 0.4, 1.0)], [0.9], [0.01])  # fmt: skip
MEL = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
ANSWERS = Answers(
    tokenizers={"multilingual": Tokenizing([[1, 2]], ["61", "62", "6162"], [0, 9])},
    windows={"en/a": DECODED},
    prompted_windows=[replace(DECODED, decoder_prompt=[4, 1, 5])],
    clips={"en/c": FILE},
    prompted_clips=[FILE],
    readings={"1 min": FILE},
    previous={"0": [-1.0, -2.0], "3": [-3.0, -0.5]},
    log_mel={"en/a": MEL, "en/c": MEL},
)


def decoded(**changes: Any) -> dict[str, Any]:
    return {
        "windows": {"en/a": replace(DECODED, **changes)},
        "prompted_windows": [replace(ANSWERS.prompted_windows[0], **changes)],
    }


def clips(**changes: Any) -> dict[str, Any]:
    return {"clips": {"en/c": replace(FILE, **changes)}}


def tokenizing(**changes: Any) -> dict[str, Any]:
    return {"tokenizers": {"multilingual": replace(ANSWERS.tokenizers["multilingual"], **changes)}}


@pytest.mark.parametrize("name", list(CHECKS))
def test_equal_answers_do_not_differ(name: str) -> None:
    found = compare(name, CASES, ANSWERS, ANSWERS)
    assert found.compared
    assert not found.differences
    assert found.largest == 0


# Of each comparison, something that it has to see; by less than these tolerances all may differ.
DIFFERENT: list[tuple[str, dict[str, Any]]] = [
    ("tokenized texts", tokenizing(texts=[[1, 1, 2]])),
    ("vocabularies", tokenizing(bytes_of_tokens=["61", "63", "6162"])),
    ("vocabularies", tokenizing(suppressed=[9])),
    ("vocabularies", tokenizing(suppressed=[0])),
    ("log-mel", {"log_mel": {"en/a": MEL, "en/c": MEL + 2e-5}}),
    ("log-mel", {"log_mel": {"en/a": MEL[:, :3], "en/c": MEL}}),
    ("log-mel", {"log_mel": {"en/a": MEL * np.nan, "en/c": MEL}}),
    ("decoder prompts", decoded(decoder_prompt=[5, 5])),
    ("tokens", decoded(tokens=[7, 1, 9])),
    ("tokens", decoded(tokens=[7, 1])),
    ("tokens", decoded(finished=False)),
    ("tokens after a prompt", decoded(finished=False)),
    ("tokens after a prompt", decoded(tokens=[7, 1, 9])),
    ("first steps", {"previous": {"0": [-1.0, -2.0], "3": [-3.0, -0.502]}}),
    ("log-probabilities", decoded(avg_logprob=-0.252)),
    ("no-speech probability", decoded(no_speech_prob=0.012)),
    ("no-speech probability", clips(no_speech_probs=[0.012])),
    ("no-speech probability", clips(no_speech_probs=[])),
    ("languages", decoded(language="de")),
    ("languages", decoded(probabilities={"en": 0.898, "de": 0.102})),
    ("languages", decoded(probabilities={"en": 0.9})),
    ("misleading prompts", {"prompted_clips": [replace(FILE, language="de")]}),
    ("misleading prompts", {"prompted_clips": [replace(FILE, text="Hallo Welt.")]}),
    ("texts", clips(text="Hello word.")),
    ("word times", clips(words=[*FILE.words[:1], Timed(" world.", 0.43, 1.0)])),
    ("word times", clips(words=FILE.words[:1])),
    ("compression ratios", clips(compression_ratios=[0.91])),
    ("condition_on_previous_text", {"readings": {"1 min": replace(FILE, text="Hello.")}}),
]


@pytest.mark.parametrize(("name", "changes"), DIFFERENT)
def test_a_different_answer_is_seen(name: str, changes: dict[str, Any]) -> None:
    found = compare(name, CASES, ANSWERS, replace(ANSWERS, **changes))
    assert found.differences


def test_every_comparison_is_shown_to_see_something() -> None:
    assert {name for name, _ in DIFFERENT} == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("log-mel", {"log_mel": {"en/a": MEL, "en/c": MEL + 1e-6}}),
        ("log-probabilities", decoded(avg_logprob=-0.2505)),
        ("word times", clips(words=[*FILE.words[:1], Timed(" world.", 0.42, 1.0)])),
    ],
)
def test_rounding_is_no_difference(name: str, changes: dict[str, Any]) -> None:
    found = compare(name, CASES, ANSWERS, replace(ANSWERS, **changes))
    assert not found.differences
    assert found.largest > 0


@pytest.mark.parametrize("name", ["tokens", "tokens after a prompt", "log-probabilities"])
def test_a_loop_that_the_service_stops_is_compared_as_far_as_it_goes(name: str) -> None:
    def looped(tokens: list[int], logprob: float) -> Answers:
        return replace(ANSWERS, **decoded(tokens=tokens, finished=False, avg_logprob=logprob))

    openai = looped([7, 1, 1, 1, 1], -0.05)
    assert not compare(name, CASES, openai, looped([7, 1, 1], -0.2)).differences
    if name != "log-probabilities":
        assert compare(name, CASES, openai, looped([7, 1, 2], -0.2)).differences


def test_a_difference_is_shown_where_it_begins() -> None:
    other = replace(ANSWERS, **decoded(tokens=[7, 1, 9]))
    (line,) = compare("tokens", CASES, ANSWERS, other).differences
    assert line == "en/a: from 2 of 3: [7, 1, 8], the service [7, 1, 9]"


def test_cases_are_written_as_the_same_bytes_every_time_and_read_as_they_were(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        CASES.write(folder)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    again = read_cases(first)
    np.testing.assert_array_equal(again.windows["en/a"], PCM)
    assert [*map(tuple, again.prompted_windows)] == CASES.prompted_windows
    assert (again.languages, again.texts) == (CASES.languages, CASES.texts)


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    ANSWERS.write(tmp_path / "answers")
    again = read_answers(tmp_path / "answers")
    np.testing.assert_array_equal(again.log_mel["en/a"], MEL)
    assert replace(again, log_mel={}) == replace(ANSWERS, log_mel={})


def test_both_sides_read_the_same_samples() -> None:
    samples = as_samples(PCM)
    assert samples.dtype == np.float32
    assert samples.tolist() == [0.0, 0.5, -1.0]
