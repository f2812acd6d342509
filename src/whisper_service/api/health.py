"""What orchestrators and Prometheus ask; never in need of the engine. Health is open to all."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from whisper_service.api.errors import RETRY_SECONDS
from whisper_service.api.gate import TranscriberOf, guard_metrics
from whisper_service.service.contract import State

router = APIRouter(tags=["operations"])


class Liveness(BaseModel):
    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    status: State = Field(description="Requests are taken while this is `ready`.")


@router.get("/health/live", name="health", operation_id="live", summary="Does the process answer?")
async def live() -> Liveness:
    return Liveness()


@router.get(
    "/health/ready",
    name="health",
    operation_id="ready",
    summary="Does the service take requests?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not now; `status` says why."}},
)
async def ready(transcriber: TranscriberOf) -> Response:
    state = transcriber.state
    if state is State.READY:
        return JSONResponse({"status": state})
    return JSONResponse(
        {"status": state}, status_code=503, headers={"retry-after": str(RETRY_SECONDS)}
    )


@router.get(
    "/metrics",
    dependencies=[Depends(guard_metrics)],
    name="metrics",
    operation_id="metrics",
    summary="Prometheus metrics of the service and of its engine",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def show_metrics() -> Response:
    # In a thread: with the engine's series it takes long enough to hold up everybody else.
    return Response(await asyncio.to_thread(generate_latest), media_type=CONTENT_TYPE_LATEST)
