"""The longest time that a request may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from whisper_service.errors import Fault, ServiceError


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Cancels what runs in its block after so many seconds.

    Raises:
        ServiceError: TIMED_OUT; what ran has been cancelled and has ended.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise  # somebody else's
        raise ServiceError(
            Fault.TIMED_OUT,
            f"The request took longer than the limit of {seconds:g} seconds: send shorter audio, "
            "or try again when the service has less to do.",
        ) from None
