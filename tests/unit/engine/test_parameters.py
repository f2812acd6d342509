from __future__ import annotations

import json

import pytest

from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.parameters import (
    ModelOptions,
    RuleParameters,
    WindowName,
    vocabulary_config,
    vocabulary_of,
)

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


@pytest.mark.parametrize("is_aligned_later", [True, False])
def test_a_windows_name_comes_back_from_its_uuid(is_aligned_later: bool) -> None:
    name = WindowName("4f2a", is_aligned_later)
    assert WindowName.from_uuid(name.as_uuid()) == name


def test_a_window_that_is_aligned_later_is_sent_again_where_vllm_has_it_otherwise() -> None:
    assert WindowName("4f2a").as_uuid() != WindowName("4f2a", is_aligned_later=True).as_uuid()


@pytest.mark.parametrize("options", [ModelOptions(), ModelOptions(16, ((3, 1), (5, 7)))])
def test_what_the_model_is_told_comes_through_json_unchanged(options: ModelOptions) -> None:
    sent = json.loads(json.dumps(options.as_config()))
    assert ModelOptions.from_config(sent) == options


@pytest.mark.parametrize("config", [None, {}, {"other": 1}, "whisper"])
def test_a_model_that_is_told_nothing_keeps_nothing_for_a_retry(config: object) -> None:
    assert ModelOptions.from_config(config) == ModelOptions()
