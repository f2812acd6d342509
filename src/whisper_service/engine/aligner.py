"""Has the engine align windows, a few at a time, in pieces that do not hold up decoding."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_service.domain import ENCODER_POSITIONS_PER_SECOND, SAMPLE_RATE, Samples
from whisper_service.errors import ServiceError
from whisper_service.metrics import ALIGNMENTS, ENCODER_OUTPUTS

_BATCH = 8  # windows; more share little, and the first would wait for the last
# How long a call may keep the engine from its next step. A step with 16 windows takes about as long
# on a CPU, and a call that takes longer is followed by a smaller one.
_CALL_SECONDS = 0.04
_FIRST_PARTS = 2  # of a batch's first call: what windows cost is not known beforehand
_GROWTH = 2.0  # of a call's parts, at most, from one to the next

logger = logging.getLogger(__name__)


class AlignmentError(Exception):
    """A window could not be aligned; nothing else is wrong."""


@dataclass(frozen=True, eq=False)
class AlignmentRequest:
    """A window's text, whose place in the window is asked for.

    key: of the window's `DecodingRequest`, which had `keep`.
    samples: the window's, for the case that its encoder output is not there any more.
    language: the token that was chosen; task: the token.
    tokens: of text only, at least one.
    """

    key: str
    samples: Samples
    language: int
    task: int
    tokens: tuple[int, ...]
    encoded_again: bool = False

    @property
    def frames(self) -> int:
        """Positions of the encoder that are full of audio, as the reference counts them."""
        return max(1, len(self.samples) * ENCODER_POSITIONS_PER_SECOND // SAMPLE_RATE)


Call = Callable[..., Awaitable[list[Any]]]
"""Calls a method of the worker extension by name: one result from each engine."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    request: AlignmentRequest
    answer: asyncio.Future[NDArray[np.float16]]


class Aligner:
    """One batch after the other, for all requests together.

    Args:
        call: reaches the worker extension of every engine.
        prompt: the tokens that the decoder is given for a request, and how many of them come before
            <|notimestamps|>.
        encode: runs the encoder for a request anew, so that its output is there under its key.
    """

    def __init__(
        self,
        call: Call,
        prompt: Callable[[AlignmentRequest], tuple[list[int], int]],
        encode: Callable[[AlignmentRequest], Awaitable[None]],
    ) -> None:
        self._call = call
        self._prompt = prompt
        self._encode = encode
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None
        self._encoding: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Future[NDArray[np.float16]]] = set()  # that somebody waits for

    async def align(self, request: AlignmentRequest) -> NDArray[np.float16]:
        """How the text's tokens look at the window: float16[tokens + 1, frames], the last row for
        the end of the text. Cancelling it costs no other request anything.

        Raises:
            AlignmentError: the workers could not do it.
            ServiceError: the engine is dead.
        """
        answer: asyncio.Future[NDArray[np.float16]] = asyncio.get_running_loop().create_future()
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        self._add(_Waiting(request, answer))
        return await answer

    async def stop(self) -> None:
        tasks = [*self._encoding, *([self._working] if self._working else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for answer in [*self._answers]:
            answer.cancel()

    def _add(self, each: _Waiting, *, first: bool = False) -> None:
        if first:
            self._waiting.appendleft(each)
        else:
            self._waiting.append(each)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            first = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if batch := [each for each in first if not each.answer.done()]:
                await self._align_or_fail(batch)

    async def _align_or_fail(self, batch: Sequence[_Waiting]) -> None:
        try:
            await self._align(batch)
        except ServiceError as dead:
            for each in batch:
                _fail(each, dead)
        except Exception as error:  # noqa: BLE001 -- vLLM raises `Exception` for a worker's failure
            if len(batch) == 1:
                _fail(batch[0], AlignmentError(str(error)))
                return
            for each in batch:  # one of them may be the cause: the others need not suffer
                await self._align_or_fail([each])

    async def _align(self, batch: Sequence[_Waiting]) -> None:
        windows = []
        for each in batch:
            tokens, skip = self._prompt(each.request)
            windows.append([each.request.key, tokens, skip, each.request.frames])
        begun = await self._call("whisper_begin_alignment", windows)
        ENCODER_OUTPUTS.set(sum(held for _, held in begun))
        known = {number for numbers, _ in begun for number in numbers}
        for number, each in enumerate(batch):
            if number not in known:
                task = asyncio.create_task(self._encode_again(each))
                self._encoding.add(task)
                task.add_done_callback(self._encoding.discard)
        if known:
            await self._finish(batch)

    async def _finish(self, batch: Sequence[_Waiting]) -> None:
        """The batch that was begun, to its end."""
        parts = _FIRST_PARTS
        results: dict[int, list[Any] | None] = {}
        while not results or None in results.values():
            replies = await self._call("whisper_continue_alignment", parts)
            for engine, (_, done) in enumerate(replies):
                results[engine] = results.get(engine) or done
            longest = max(seconds for seconds, _ in replies)
            parts = _next_parts(parts, longest)
        aligned = [window for windows in results.values() for window in windows or ()]
        for number, rows, weights in aligned:
            answer = batch[number].answer
            if not answer.done():
                ALIGNMENTS.labels(
                    "encoded_again" if batch[number].request.encoded_again else "aligned"
                ).inc()
                answer.set_result(np.frombuffer(weights, np.float16).reshape(rows, -1))
        await self._call("whisper_let_go", [batch[number].request.key for number, *_ in aligned])

    async def _encode_again(self, each: _Waiting) -> None:
        """Once: what is gone at once again would be gone for ever."""
        if each.request.encoded_again:
            _fail(each, AlignmentError("the encoder's output is not there"))
            return
        logger.debug("a window's encoder output is gone: it is encoded again")
        try:
            await self._encode(each.request)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the one who waits has to know
            _fail(each, error)
        else:
            # Next, before others that are encoded meanwhile have taken the place of its output.
            self._add(_Waiting(replace(each.request, encoded_again=True), each.answer), first=True)


def _fail(each: _Waiting, error: Exception) -> None:
    if not each.answer.done():
        each.answer.set_exception(error)


def _next_parts(parts: int, seconds: float) -> int:
    """How many parts the next call does, after one that took so long."""
    factor = min(_CALL_SECONDS / max(seconds, 1e-6), _GROWTH)
    return max(1, int(parts * factor))
