"""Clients find the one model that is served, under each of its names."""

from __future__ import annotations

import openai
import pytest

from whisper_service.service.contract import State

NAMES = ["openai/whisper-large-v3", "whisper-1"]


async def test_the_sdk_lists_the_model_and_its_aliases(sdk) -> None:
    listed = [model async for model in await sdk.models.list()]
    assert [model.id for model in listed] == NAMES
    assert listed[0].owned_by == "openai"
    assert listed[0].object == "model"
    assert listed[0].created == 1_700_000_000


@pytest.mark.parametrize("name", NAMES)
async def test_the_sdk_retrieves_the_model_by_each_name(sdk, name) -> None:
    assert (await sdk.models.retrieve(name)).id == name


async def test_a_slash_in_an_id_may_be_escaped_or_not(client) -> None:
    for path in ("models/openai/whisper-large-v3", "models/openai%2Fwhisper-large-v3"):
        assert (await client.get(path)).json()["id"] == NAMES[0]


async def test_another_model_is_not_found(sdk, client, error_of) -> None:
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("gpt-4o")
    for path in ("models/gpt-4o", "models/", "models/a/b/c/%00"):
        assert error_of(await client.get(path))["code"] == "model_not_found"


async def test_models_are_known_only_when_one_is_loaded(client, transcriber, error_of) -> None:
    transcriber.state = State.STARTING
    assert error_of(await client.get("models"))["code"] == "not_ready"
