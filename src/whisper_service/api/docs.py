"""`/docs` without the internet: Swagger UI's files come out of the package fastapi-offline."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from whisper_service.api.gate import guard_docs
from whisper_service.errors import Fault, ServiceError

router = APIRouter(include_in_schema=False, dependencies=[Depends(guard_docs)])

_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/openapi.json", name="openapi")
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs", name="docs")
async def docs() -> HTMLResponse:
    # Relative links, so that the page also works behind a proxy that adds a prefix.
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="whisper-service",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )


@router.get("/docs/{name}", name="docs")
async def asset(name: str) -> Response:
    if name not in _ASSETS:
        raise ServiceError(Fault.ROUTE_NOT_FOUND, "The documentation has no such file.")
    path = Path(str(files("fastapi_offline") / "static" / name))
    return FileResponse(path, media_type=_ASSETS[name])
