"""A service with one path for each way in which a request ends."""

from typing import Any

import aiohttp
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.middleware import Middleware

from palaver.contracts.errors import CATALOGUE, RATE_LIMITED, PalaverError
from palaver.runtime.http.errors import render_wire_error
from palaver.runtime.http.exception_handlers import exception_handlers
from palaver.runtime.http.middleware import BodyLimit, ErrorBoundary

BODY_BYTES = 1_000


class Form(BaseModel):
    """A body with one field."""

    model_config = ConfigDict(extra="forbid")

    password: str


def build_app() -> FastAPI:
    """One path for each way in which a request ends."""
    app = FastAPI(
        middleware=[
            Middleware(ErrorBoundary, render=render_wire_error),
            Middleware(BodyLimit, most=BODY_BYTES),
        ],
        exception_handlers=exception_handlers(render_wire_error),
    )

    @app.post("/forms")
    async def take(form: Form) -> dict[str, int]:
        return {"length": len(form.password)}

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("the secret of the crash")

    @app.get("/refuse/{code}")
    async def refuse(code: str) -> None:
        raise PalaverError(CATALOGUE[code], "a text", field="a.field", secret="a secret")

    @app.get("/wait")
    async def wait() -> None:
        raise PalaverError(RATE_LIMITED, retry_after=1.25)

    return app


async def answer(rest: aiohttp.ClientSession, method: str, path: str, **body: Any) -> tuple[int, Any]:
    async with rest.request(method, path, **body) as found:
        return found.status, await found.json()
