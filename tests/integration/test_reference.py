"""The service beside openai/whisper on the same weights, in float32: a minute of it.

`make reference-test` compares everything.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from reference.answers import Answers
from reference.cases import Cases, sample
from reference.compare import CHECKS, compare
from reference.runs import answer

pytestmark = pytest.mark.timeout(1_800)  # two models run, each on all cores

Answered = tuple[Cases, Answers, Answers]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """The cases, openai/whisper's answers and the service's."""
    cases = sample()
    return cases, *answer(cases, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("name", list(CHECKS))
def test_the_service_answers_as_openai_whisper_does(answered: Answered, name: str) -> None:
    found = compare(name, *answered)
    assert found.compared
    assert not found.differences
