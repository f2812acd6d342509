"""What the API needs of the service below it."""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import BinaryIO, Protocol

from whisper_service.domain import ModelCard, SpokenSegment, Transcript, TranscriptionOptions
from whisper_service.service.admission import Permit


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"


class Listener(Protocol):
    """Is told of a transcript while it is made. Called on the event loop; must not block."""

    def began(self, duration: float, broken_at: float | None = None) -> None:
        """The upload is audio of `duration` seconds: from here on only the service can fail.

        `broken_at`: the second at which the file broke, if it did.
        """
        ...

    def heard(self, spoken: SpokenSegment) -> None:
        """The next segment, in the order of the audio; nothing changes it any more."""
        ...


class Transcriber(Protocol):
    @property
    def model(self) -> ModelCard: ...

    @property
    def state(self) -> State: ...

    def admit(self, user: Hashable) -> Permit:
        """Accepts a request of the user's, before any of it is read; the caller closes the permit.

        Raises:
            ServiceError: OVERLOADED.
        """
        ...

    async def transcribe(
        self,
        audio: BinaryIO,
        options: TranscriptionOptions,
        permit: Permit,
        listener: Listener | None = None,
    ) -> Transcript:
        """The transcript of an uploaded file, which is closed as soon as it is decoded.

        Raises:
            ServiceError: the upload is no audio that can be read, or the service cannot take it.
        """
        ...
