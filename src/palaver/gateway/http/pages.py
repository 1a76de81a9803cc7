"""The page that shows the OpenAPI document, and the ways to it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

router = APIRouter(include_in_schema=False)

# The page's program and style, from the package that carries them: a page that fetched them from the
# internet would stay empty where there is none. Nothing else of the package is used; it is found, and not
# imported, since importing it takes time
_package = find_spec("fastapi_offline")
assert _package is not None
assert _package.origin is not None
ASSETS = Path(_package.origin).parent / "static"

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Palaver API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """\
SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#swagger-ui",
    layout: "BaseLayout",
    deepLinking: true,
    showExtensions: true,
    showCommonExtensions: true,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
# Its own files, the document, and requests that readers try. The program sets styles by itself
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@router.get("/")
async def redirect_to_docs() -> Response:
    """A browser at the address alone shows what the server is."""
    return RedirectResponse("docs")


@router.get("/docs")
async def show_docs() -> Response:
    """The page."""
    return HTMLResponse(PAGE, headers={"content-security-policy": PAGE_POLICY})


@router.get("/docs/start.js")
async def show_start() -> Response:
    """What begins to show the document. A file: a policy that lets scripts into the page lets in any."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def show_asset(name: Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]) -> Response:
    """A part of the page."""
    return FileResponse(ASSETS / name, headers={"cache-control": "max-age=86400"})


@router.get("/swagger/index.html")
async def redirect_old_docs() -> Response:
    """Where the first generations had the page."""
    return RedirectResponse("../docs")
