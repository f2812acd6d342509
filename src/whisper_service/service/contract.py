"""What the API needs of the service below it."""

from __future__ import annotations

from enum import StrEnum
from typing import BinaryIO, Protocol

from whisper_service.domain import ModelCard, Transcript, TranscriptionOptions


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"


class Transcriber(Protocol):
    @property
    def model(self) -> ModelCard: ...

    @property
    def state(self) -> State: ...

    async def transcribe(self, audio: BinaryIO, options: TranscriptionOptions) -> Transcript:
        """The transcript of an uploaded file.

        Raises:
            ServiceError: the upload is no audio that can be read, or the service cannot take it.
        """
        ...
