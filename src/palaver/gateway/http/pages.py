"""The page that shows the OpenAPI document, and the ways to it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, RedirectResponse, Response

router = APIRouter(include_in_schema=False)

# The page's program and style, from the package that carries them: a page that fetched them from the
# internet would stay empty where there is none. Nothing else of the package is used; it is found, and not
# imported, since importing it takes time
_package = find_spec("fastapi_offline")
assert _package is not None
assert _package.origin is not None
ASSETS = Path(_package.origin).parent / "static"


@router.get("/")
async def redirect_to_docs() -> Response:
    """A browser at the address alone shows what the server is."""
    return RedirectResponse("docs")


@router.get("/docs")
async def show_docs() -> Response:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Palaver API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )


@router.get("/docs/{name}")
async def show_asset(name: Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]) -> Response:
    """A part of the page."""
    return FileResponse(ASSETS / name, headers={"cache-control": "max-age=86400"})


@router.get("/swagger/index.html")
async def redirect_old_docs() -> Response:
    """Where the first generations had the page."""
    return RedirectResponse("../docs")
