"""The way of one request: upload, recording, windows, text."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import BinaryIO

from whisper_service.domain import ModelCard, Transcript, TranscriptionOptions
from whisper_service.engine.decoding_rules import NO_TOKEN
from whisper_service.engine.engine import WhisperEngine
from whisper_service.engine.requests import EngineFacts
from whisper_service.errors import ENGINE_DIED, Fault, ServiceError
from whisper_service.metrics import (
    AUDIO_RECEIVED_SECONDS,
    AUDIO_SPEECH_SECONDS,
    READY,
    UPLOADS_HELD,
    WINDOWS_ACCEPTED,
    WINDOWS_ACCEPTED_LIMIT,
    WINDOWS_QUEUED,
    WINDOWS_RUNNING,
)
from whisper_service.service.admission import Admission, Permit
from whisper_service.service.assemble import Assembler
from whisper_service.service.contract import Listener, State
from whisper_service.service.fair_slots import FairSlots
from whisper_service.service.parallel import ParallelTranscription, Piece
from whisper_service.service.recording import Recording, RecordingReader
from whisper_service.service.sequential import SequentialTranscription
from whisper_service.service.timed_slots import TimedSlots
from whisper_service.service.window_decoder import WindowDecoder
from whisper_service.service.word_aligner import WordAligner
from whisper_service.telemetry.record import Stage, current_record, stage
from whisper_service.whisper.tokenizer import TextTokenizer
from whisper_service.whisper.vocabulary import Vocabulary

# Half a minute of 16 kHz WAV, a minute of MP3: decoded and heard in a tenth of a second.
_SMALL_BYTES = 1024 * 1024
_RESERVED_PART = 16  # one place in so many is for requests that have none yet
_WATCH_SECONDS = 0.5  # between two looks at the engine
_LAST_WORDS_SECONDS = 1.0  # for the answers to requests whose engine has died

logger = logging.getLogger(__name__)


class TranscriptionService:
    """The one object that requests are given to; it owns the engine."""

    def __init__(
        self,
        engine: WhisperEngine,
        reader: RecordingReader,
        vocabulary: Vocabulary,
        tokenizer: TextTokenizer,
        card: ModelCard,
        *,
        max_windows: int,
        language_threshold: float,
        admission: Admission,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._card = card
        self._slots = FairSlots(max_windows, reserved=max_windows // _RESERVED_PART)
        self._language_threshold = language_threshold
        self._assembler = Assembler(vocabulary, tokenizer)
        self._words = WordAligner(engine, vocabulary, tokenizer)
        self._state = State.STARTING
        self._admission = admission
        self._in_flight: set[asyncio.Timeout] = set()
        WINDOWS_RUNNING.set_function(lambda: self._slots.running)
        WINDOWS_QUEUED.set_function(lambda: self._slots.queued)
        WINDOWS_ACCEPTED.set_function(lambda: admission.queue.used)
        WINDOWS_ACCEPTED_LIMIT.set(admission.queue.capacity)
        UPLOADS_HELD.set_function(lambda: admission.uploads.used)
        READY.set_function(lambda: self.state is State.READY)

    @property
    def model(self) -> ModelCard:
        return self._card

    @property
    def state(self) -> State:
        return State.DEAD if self._engine.is_dead else self._state

    @property
    def engine_is_dead(self) -> bool:
        return self._engine.is_dead

    @property
    def accepted_windows(self) -> int:
        """Windows of the requests that were let in, those that wait included."""
        return self._admission.queue.used

    async def start(self) -> EngineFacts:
        """Starts the engine and tells what it became; then requests are taken."""
        facts = await self._engine.start()
        await self._reader.start()  # now: the engine's processes inherit nothing of the decoders'
        self._state = State.READY
        return facts

    async def drain(self, seconds: float) -> None:
        """Takes no new request and waits for those that were accepted, so long at most."""
        self._state = State.DRAINING
        if not self._admission.accepted:
            return
        logger.info("finishing %d accepted requests", self._admission.accepted)
        try:
            await asyncio.wait_for(self._admission.idle(), seconds)
        except TimeoutError:
            left = self._admission.accepted
            logger.warning("%d requests were not finished in %s s", left, seconds)

    async def stop(self) -> None:
        self._state = State.DRAINING
        self._reader.close()
        await self._engine.stop()

    def admit(self, user: Hashable) -> Permit:
        """Accepts a request of the user's, before any of it is read; the caller closes the permit.

        Raises:
            ServiceError: OVERLOADED.
        """
        return self._admission.admit(user)

    async def transcribe(
        self,
        audio: BinaryIO,
        options: TranscriptionOptions,
        permit: Permit,
        listener: Listener | None = None,
    ) -> Transcript:
        """The transcript of an uploaded file. Cancelling it frees everything that it holds.

        Args:
            audio: the upload, at its start.
            options: what is asked for.
            permit: of the request.
            listener: told of the text as soon as it is certain.

        Raises:
            ServiceError: the upload is no audio that can be read, or the engine is dead.
        """
        async with self._while_the_engine_lives():
            return await self._transcribe(audio, options, permit, listener)

    @asynccontextmanager
    async def _while_the_engine_lives(self) -> AsyncIterator[None]:
        """What runs in the block is cancelled by `fail_all`, whatever it is waiting for.

        Raises:
            ServiceError: ENGINE_DEAD.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._in_flight.add(scope)
                yield
        except TimeoutError:
            if not scope.expired():
                raise  # somebody else's
            raise ServiceError(Fault.ENGINE_DEAD, ENGINE_DIED) from None
        finally:
            self._in_flight.discard(scope)

    async def engine_death(self) -> None:
        """Returns when the engine has died."""
        while not self.engine_is_dead:  # noqa: ASYNC110 -- vLLM has no event for it
            await asyncio.sleep(_WATCH_SECONDS)

    async def last_words(self) -> None:
        """Tells the requests in flight that the engine is dead, and gives them time to answer."""
        self.fail_all()
        await asyncio.sleep(_LAST_WORDS_SECONDS)

    def fail_all(self) -> None:
        """The engine is dead: all requests in flight are told so, those too that wait for another
        thing than the engine.
        """
        while self._in_flight:
            self._in_flight.pop().reschedule(0)

    async def _transcribe(
        self,
        audio: BinaryIO,
        options: TranscriptionOptions,
        permit: Permit,
        listener: Listener | None,
    ) -> Transcript:
        language = self._language_token(options)
        recording = await self._read(audio, options, permit)
        decoder = WindowDecoder(self._engine, self._vocabulary, self._tokenizer, options)
        voiced = recording.voiced if options.speech else ()  # else times are Whisper's own
        align = self._words.align_for(options, voiced)
        assembly = self._assembler.begin(voiced, prompt_tokens=len(decoder.prompt))
        if listener is not None:
            listener.began(recording.duration, recording.broken_at)

        def on_piece(piece: Piece) -> None:
            for spoken in assembly.add(piece):
                if listener is not None:
                    listener.heard(spoken)

        if recording.windows:
            with TimedSlots(permit.slots(self._slots)) as slots:
                if options.condition_on_previous_text:
                    one_by_one = SequentialTranscription(
                        decoder, self._vocabulary, slots, on_piece, align
                    )
                    await one_by_one.run(recording.speech, language)
                else:
                    at_once = ParallelTranscription(
                        decoder,
                        self._vocabulary,
                        slots,
                        self._language_threshold,
                        on_piece,
                        slow_start=listener is not None,
                        align=align,
                    )
                    await at_once.run(recording.windows, language, recording.voiced)
        return assembly.transcript(
            task=options.task,
            language=options.language,
            duration=recording.duration,
            logprobs=options.logprobs,
            broken_at=recording.broken_at,
        )

    async def _read(
        self, audio: BinaryIO, options: TranscriptionOptions, permit: Permit
    ) -> Recording:
        async with AsyncExitStack() as turn:
            with stage(Stage.DECODE_QUEUE):
                large = audio.seek(0, io.SEEK_END) > _SMALL_BYTES
                await turn.enter_async_context(permit.decoding(large=large))
            recording = await self._reader.read(audio, options.speech)
        audio.close()  # its place on the disk is the next upload's
        permit.recorded(len(recording.windows))
        current_record().audio_seconds = recording.duration
        AUDIO_RECEIVED_SECONDS.labels(options.task).inc(recording.duration)
        speech_seconds = sum(window.seconds for window in recording.windows)
        AUDIO_SPEECH_SECONDS.labels(options.task).inc(speech_seconds)
        return recording

    def _language_token(self, options: TranscriptionOptions) -> int:
        if options.language is None or not self._vocabulary.is_multilingual:
            return NO_TOKEN
        if options.language not in self._vocabulary.languages:
            raise ServiceError(
                Fault.INVALID_VALUE, f"The model does not know '{options.language}'.", "language"
            )
        return self._vocabulary.languages[options.language]
