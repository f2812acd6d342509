"""`/`: one page to try the service with, its files all out of this package.

The page is a client like any other: it asks the public API, with a key where one is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from whisper_service import __version__
from whisper_service.api.gate import SettingsOf, TranscriberOf
from whisper_service.audio.containers import FORMATS
from whisper_service.errors import Fault, ServiceError

INDEX: Final = "index.html"
_READS: Final = ["GET", "HEAD"]

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src blob:; "  # the recording that was chosen, played back
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Kept, and asked about each time: a new version is never mixed with an old one's modules.
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def _read_files() -> Mapping[str, _File]:
    folder = files("whisper_service.api.playground") / "static"
    found = {}
    for entry in folder.iterdir():
        media_type = _MEDIA_TYPES.get(PurePath(entry.name).suffix)
        if media_type:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[entry.name] = _File(content, media_type, etag)
    return found


_FILES: Final = _read_files()


async def require_playground(settings: SettingsOf) -> None:
    if not settings.playground:
        raise HTTPException(404)  # as anywhere else where there is nothing


router = APIRouter(include_in_schema=False, dependencies=[Depends(require_playground)])


@router.api_route("/", methods=_READS, name="playground")
async def page(request: Request) -> Response:
    return _answer(request, INDEX)


@router.api_route("/playground/service.json", methods=_READS, name="playground")
async def service(settings: SettingsOf, transcriber: TranscriberOf) -> Response:
    """What the page must know before it has a key: nothing that `/docs` would not tell."""
    known: dict[str, Any] = {
        "version": __version__,
        "needs_key": settings.needs_key,
        "languages": dict(transcriber.model.languages),
        "formats": FORMATS,
        "max_upload_bytes": settings.max_upload_bytes,
        "max_audio_seconds": settings.max_audio_seconds,
        "docs": settings.public_docs or not settings.needs_key,
    }
    return JSONResponse(known, headers=_HEADERS)


@router.api_route("/playground/{name}", methods=_READS, name="playground")
async def asset(request: Request, name: str) -> Response:
    if name == INDEX or name not in _FILES:
        raise ServiceError(Fault.ROUTE_NOT_FOUND, "The playground has no such file.")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    file = _FILES[name]
    headers = {**_HEADERS, "etag": file.etag}
    if _is_known(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _is_known(if_none_match: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: weakly compared, since a proxy that compresses makes tags weak."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in (etag, "*") for tag in tags)
