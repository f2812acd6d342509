"""`GET models` and `GET models/{id}`: the model that is served, under each of its names."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from whisper_service.api.gate import GATES, TranscriberOf
from whisper_service.api.openapi import error_responses
from whisper_service.api.refusals import shorten
from whisper_service.domain import ModelCard
from whisper_service.errors import Fault, ServiceError

router = APIRouter(prefix="/models", tags=["models"], dependencies=GATES)


class Model(BaseModel):
    """OpenAI's Model object."""

    id: str = Field(examples=["openai/whisper-large-v3"])
    object: Literal["model"] = "model"
    created: int = Field(description="Seconds since 1970.", examples=[1_700_000_000])
    owned_by: str = Field(examples=["openai"])


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


@router.get(
    "",
    name="models",
    operation_id="listModels",
    summary="The served model and its aliases",
    responses=error_responses(Fault.NOT_READY, Fault.INTERNAL),
)
async def list_models(transcriber: TranscriberOf) -> ModelList:
    card = transcriber.model
    return ModelList(data=[_describe(name, card) for name in served_names(card)])


@router.get(
    "/{model:path}",  # a hub id has a slash in it
    name="model",
    operation_id="retrieveModel",
    summary="One model",
    responses=error_responses(Fault.MODEL_NOT_FOUND, Fault.NOT_READY, Fault.INTERNAL),
)
async def retrieve_model(model: str, transcriber: TranscriberOf) -> Model:
    card = transcriber.model
    check_served(model, card)
    return _describe(model, card)


def served_names(card: ModelCard) -> tuple[str, ...]:
    """The model's id, then its aliases, each once."""
    return tuple(dict.fromkeys((card.id, *card.aliases)))


def check_served(name: str, card: ModelCard) -> None:
    """Refuse any other name than the served model's.

    Raises:
        ServiceError: MODEL_NOT_FOUND, saying what is served.
    """
    if name not in served_names(card):
        known = " or ".join(repr(served) for served in served_names(card))
        raise ServiceError(
            Fault.MODEL_NOT_FOUND,
            f"The model {shorten(name)!r} is not served here: ask for {known}.",
            "model",
        )


def _describe(name: str, card: ModelCard) -> Model:
    return Model(id=name, created=card.created, owned_by=card.owned_by)
