from __future__ import annotations

import json

import pytest

from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.parameters import RuleParameters, vocabulary_config, vocabulary_of

from .whispers_rules import english_only, multilingual


@pytest.mark.parametrize("parameters", [RuleParameters(), RuleParameters(12, 16, 25, 26)])
def test_a_requests_rules_come_through_json_unchanged(parameters: RuleParameters) -> None:
    sent = json.loads(json.dumps(parameters.as_extra_args()))
    assert RuleParameters.from_extra_args(sent) == parameters


@pytest.mark.parametrize("extra", [None, {}, {"somebody": "else"}])
def test_a_request_of_somebody_else_has_no_rules(extra: dict[str, str] | None) -> None:
    assert RuleParameters.from_extra_args(extra) is None


def test_a_request_that_says_nothing_forces_nothing() -> None:
    assert RuleParameters() == RuleParameters(NO_TOKEN, NO_TOKEN, NO_TOKEN, NO_TOKEN)


@pytest.mark.parametrize("vocabulary", [multilingual(), english_only()])
def test_the_vocabulary_comes_through_json_unchanged(vocabulary: object) -> None:
    sent = json.loads(json.dumps(vocabulary_config(vocabulary)))  # type: ignore[arg-type]
    assert vocabulary_of(sent) == vocabulary


@pytest.mark.parametrize("config", [None, {}, {"other": 1}, "whisper"])
def test_a_configuration_without_the_vocabulary_is_refused(config: object) -> None:
    with pytest.raises(ValueError, match="Whisper vocabulary"):
        vocabulary_of(config)
