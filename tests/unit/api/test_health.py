"""Orchestrators learn whether to wait, to send work or to restart."""

from __future__ import annotations

import pytest

from whisper_service.service.contract import State


@pytest.mark.parametrize("state", list(State))
async def test_the_process_is_alive_in_every_state(client, transcriber, state) -> None:
    transcriber.state = state
    response = await client.get("http://test/health/live")
    assert response.status_code == 200
    assert response.json() == {"status": "alive"}


@pytest.mark.parametrize("state", list(State))
async def test_work_is_invited_only_when_ready(client, transcriber, state) -> None:
    transcriber.state = state
    response = await client.get("http://test/health/ready")
    assert response.status_code == (200 if state is State.READY else 503)
    assert response.json() == {"status": state.value}
    assert ("retry-after" in response.headers) == (state is not State.READY)
