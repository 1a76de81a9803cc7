"""The OpenAPI document, and the page that shows it."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import FileResponse, RedirectResponse, Response

from palaver.contracts.errors import MALFORMED, PalaverError
from palaver.gateway.generations.legacy import ERROR_SCHEMA
from palaver.gateway.generations.v2.problems import SCHEMA as PROBLEM_SCHEMA

DESCRIPTION = """\
Direct messaging: accounts, chats, messages.

New clients use **v2**: Bearer tokens, pages by cursor, errors as problem details (RFC 9457). Live messages
come through its socket, `GET /v2/ws`. **v1** and **v0** serve clients that were built for them.

A request may carry `traceparent` (W3C Trace Context); each answer names its trace in `traceresponse`.

Any path that is not here answers 404, any other method 405, in the error shape of its generation."""

TAGS = [
    {"name": "v2", "description": "For new clients."},
    {"name": "v1", "description": "For clients of the first microservices. Errors: `{code: 0, message}`."},
    {"name": "v0", "description": "For clients of the monolith. Errors: `{code: 0, message}`."},
    {"name": "operations", "description": "For those who run Palaver."},
]

TRACERESPONSE = {
    "description": "The request's place in the traces of whoever runs Palaver (W3C Trace Context level 2): "
    "version, trace id, span id, flags. Not there where traces are off.",
    "schema": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"},
    "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

_LONG_NAME = re.compile(r"palaver__gateway__generations__(v\d)__\w+?__([A-Za-z]+)")

router = APIRouter(include_in_schema=False)


# The page's program and style, from the package that carries them: a page that fetched them from the
# internet would stay empty where there is none. Nothing else of the package is used; it is found, and not
# imported, since importing it takes time
_package = find_spec("fastapi_offline")
assert _package is not None
assert _package.origin is not None
ASSETS = Path(_package.origin).parent / "static"


@router.get("/")
async def lead_newcomers() -> Response:
    """Who opens the address in a browser wants to know what it is."""
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
async def lead_to_docs() -> Response:
    """Where the first generations had the page."""
    return RedirectResponse("../docs")


@router.get("/messenger/ws")
@router.get("/v2/ws")
async def explain_socket() -> Response:
    """Answers those who ask for a socket without upgrading to it."""
    raise PalaverError(MALFORMED, "this is a WebSocket: connect to it with ws:// or wss://")


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` our document, made once."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(describe(app))
        return made

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to change the document


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of everything that the gateway serves."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    schemas |= {"Problem": PROBLEM_SCHEMA, "OldError": ERROR_SCHEMA}
    # FastAPI's shape of validation errors, which we never answer
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            drop_default_validation(operation)
            if "v2" in operation["tags"]:
                name_traceresponse(operation)
    document["components"]["headers"] = {"traceresponse": TRACERESPONSE}
    return with_short_names(document)


def with_short_names(document: dict[str, Any]) -> dict[str, Any]:
    """Schemas of one name in several generations: FastAPI names them by module, we call v1's `V1…`."""
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for name in sorted(schemas):
        found = _LONG_NAME.fullmatch(name)
        if found:
            generation = "" if found[1] == "v2" else found[1].upper()
            text = text.replace(f'"{name}"', f'"{generation}{found[2]}"')
            text = text.replace(f'/{name}"', f'/{generation}{found[2]}"')
    short: dict[str, Any] = json.loads(text)
    return short


def drop_default_validation(operation: dict[str, Any]) -> None:
    """Old generations answer 400 where FastAPI supposes 422."""
    content = operation["responses"].get("422", {}).get("content", {})
    if "HTTPValidationError" in str(content):
        del operation["responses"]["422"]


def name_traceresponse(operation: dict[str, Any]) -> None:
    """Every answer has the header."""
    for answer in operation["responses"].values():
        told = {"traceresponse": {"$ref": "#/components/headers/traceresponse"}}
        answer["headers"] = answer.get("headers", {}) | told


def document_of_generation(document: dict[str, Any], generation: str) -> dict[str, Any]:
    """The part of the document that promises one generation: its operations and the schemas they use."""
    paths = {
        path: kept
        for path, operations in document["paths"].items()
        if (kept := {m: o for m, o in operations.items() if generation in o.get("tags", ())})
    }
    components = document["components"]
    used: dict[str, Any] = {}
    waiting: list[Any] = [paths]
    while waiting:
        for name in references_in(waiting.pop()) - used.keys():
            used[name] = components["schemas"][name]
            waiting.append(used[name])
    schemes = {
        name for path in paths.values() for o in path.values() for s in o.get("security", ()) for name in s
    }
    return {
        **document,
        "info": {**document["info"], "version": generation},
        "tags": [tag for tag in document["tags"] if tag["name"] == generation],
        "paths": paths,
        "components": {
            "schemas": used,
            **({"headers": components["headers"]} if generation == "v2" else {}),
            "securitySchemes": {name: components["securitySchemes"][name] for name in schemes},
        },
    }


def references_in(part: Any) -> set[str]:
    """Names of the schemas that a part of the document refers to."""
    if isinstance(part, dict):
        where, _, name = str(part.get("$ref", "")).rpartition("/")
        own = {name} if where.endswith("/schemas") else set()
        return own.union(*(references_in(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(references_in(value) for value in part))
    return set()
