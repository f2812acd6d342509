"""A request's body becomes its fields and one file on disk: counted, timed, always closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, Final, TypeVar, cast

from fastapi import Request

from whisper_service.api.multipart import FormLimits, MultipartForm, boundary_of
from whisper_service.api.refusals import FILE_FIELD, invalid, malformed, missing, too_large
from whisper_service.errors import Fault, ServiceError
from whisper_service.metrics import UPLOAD_BYTES
from whisper_service.telemetry.record import Stage, current_record, stage

T = TypeVar("T")

FORM_OVERHEAD: Final = 1024 * 1024  # bytes of a body beside its file: the other fields, headers
SPOOL_BYTES: Final = 1024 * 1024  # a smaller file never touches the disk
WRITE_BYTES: Final = 256 * 1024  # collected before a thread is asked to write them


@dataclass(frozen=True)
class Form:
    fields: tuple[tuple[str, str], ...]  # in the order and the spelling in which they were sent
    file: BinaryIO  # at its start; closed when the form is left


@asynccontextmanager
async def read_form(
    request: Request, limits: FormLimits, timeout_seconds: float, idle_seconds: float
) -> AsyncIterator[Form]:
    """The request's form, for as long as the block lasts.

    Args:
        request: of which nothing was read yet.
        limits: of the form's size.
        timeout_seconds: for the whole body.
        idle_seconds: between two pieces of it.

    Raises:
        ServiceError: the body is too large, too slow, or not a form with one file.
        ClientDisconnect: the client went away while it sent.
    """
    form = MultipartForm(boundary_of(request.headers.get("content-type")), limits)
    body_limit = limits.file_bytes + FORM_OVERHEAD
    if _declared_length(request) > body_limit:
        raise too_large(limits.file_bytes)

    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
        try:
            with stage(Stage.RECEIVE):
                async with asyncio.timeout(timeout_seconds):
                    await _receive(request, form, file, body_limit, idle_seconds)
        except TimeoutError:
            raise ServiceError(
                Fault.UPLOAD_TOO_SLOW,
                f"The upload did not arrive within {timeout_seconds:g} seconds, or paused for "
                f"{idle_seconds:g}.",
            ) from None
        _check_file(form)
        file.seek(0)
        yield Form(tuple(form.fields), cast(BinaryIO, file))


async def _receive(
    request: Request, form: MultipartForm, file: IO[bytes], body_limit: int, idle_seconds: float
) -> None:
    record = current_record()
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(idle_seconds) as pause, aclosing(request.stream()) as stream:
        async for chunk in stream:
            pause.reschedule(now() + idle_seconds)
            # Counted here and not taken from the header, which may be missing or may lie.
            record.upload_bytes += len(chunk)
            UPLOAD_BYTES.inc(len(chunk))
            if record.upload_bytes > body_limit:
                raise too_large(body_limit - FORM_OVERHEAD)
            form.feed(chunk)
            if form.pending_file_bytes >= WRITE_BYTES:
                await _spool(form, file)
    form.finish()
    await _spool(form, file)


async def _spool(form: MultipartForm, file: IO[bytes]) -> None:
    write = partial(file.write, form.take_file_bytes())
    if form.file_size <= SPOOL_BYTES:
        write()  # still in memory
    else:
        await _in_thread(write)


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdecimal()):
        raise malformed("The content-length header is not a number.")
    return int(declared[:20])  # longer ones are too large in any case


def _check_file(form: MultipartForm) -> None:
    if not form.has_file:
        raise missing(FILE_FIELD)
    if form.file_size == 0:
        raise invalid(FILE_FIELD, "is empty.")


async def _in_thread(function: Callable[[], T]) -> T:
    """Run `function` in a thread, and be done only when it is, even when cancelled.

    A write that outlived its request would race with the closing of its file.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
