"""The OpenAPI document of all that the gateway serves, and the part that one generation promises."""

import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from palaver.gateway.generations.registry import Generation, GenerationRegistry

DESCRIPTION = """\
Direct messaging: accounts, chats, messages.

New clients use **v2**: Bearer tokens, pages by cursor, errors as problem details (RFC 9457). Live messages
come through its socket, `GET /v2/ws`. **v1** and **v0** serve clients that were built for them.

A request may carry `traceparent` (W3C Trace Context); each answer names its trace in `traceresponse`.

Any path that is not here answers 404, any other method 405, in the error shape of its generation."""

# As FastAPI names schemas that several modules have: by the module
_LONG_NAME = re.compile(r"palaver__gateway__generations__(\w+?)__\w+?__([A-Za-z]+)")


def describe(app: FastAPI, generations: GenerationRegistry) -> dict[str, Any]:
    """The document of all routes of `app`."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
    )
    components = document["components"]
    components["headers"] = {}
    for generation in generations.generations:
        components["schemas"] |= generation.error_schemas
        components["headers"] |= generation.response_headers
        for operation in operations_of(document, generation):
            drop_default_validation(operation)
            add_response_headers(operation, generation)
    # FastAPI's shape of validation errors, which no generation answers
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    prefixes = {generation.name: generation.schema_prefix for generation in generations.generations}
    return with_short_names(document, prefixes)


def operations_of(document: dict[str, Any], generation: Generation) -> list[dict[str, Any]]:
    """The operations that carry the tag of a generation."""
    return [
        operation
        for operations in document["paths"].values()
        for operation in operations.values()
        if generation.tag["name"] in operation["tags"]
    ]


def drop_default_validation(operation: dict[str, Any]) -> None:
    """Removes the 422 that FastAPI supposes of every operation with parameters, where none is declared."""
    content = operation["responses"].get("422", {}).get("content", {})
    if "HTTPValidationError" in str(content):
        del operation["responses"]["422"]


def add_response_headers(operation: dict[str, Any], generation: Generation) -> None:
    """Declares the headers that all answers of a generation carry."""
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in generation.response_headers}
    if headers:
        for answer in operation["responses"].values():
            answer["headers"] = answer.get("headers", {}) | headers


def with_short_names(document: dict[str, Any], prefixes: dict[str, str]) -> dict[str, Any]:
    """The document with `V1Chat` where FastAPI names v1's schema by its module. `prefixes`: by generation."""
    text = json.dumps(document)
    for name in sorted(document["components"]["schemas"]):
        found = _LONG_NAME.fullmatch(name)
        if found:
            short = prefixes[found[1]] + found[2]
            text = text.replace(f'"{name}"', f'"{short}"').replace(f'/{name}"', f'/{short}"')
    shortened: dict[str, Any] = json.loads(text)
    return shortened


def document_of_generation(document: dict[str, Any], generation: Generation) -> dict[str, Any]:
    """The part of the document that promises one generation: its operations and the schemas they use."""
    tag = generation.tag["name"]
    paths = {
        path: kept
        for path, operations in document["paths"].items()
        if (kept := {m: o for m, o in operations.items() if tag in o.get("tags", ())})
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
    headers = {name: components["headers"][name] for name in generation.response_headers}
    return {
        **document,
        "info": {**document["info"], "version": generation.name},
        "tags": [one for one in document["tags"] if one["name"] == tag],
        "paths": paths,
        "components": {
            "schemas": used,
            **({"headers": headers} if headers else {}),
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
