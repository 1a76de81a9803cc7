"""An auth service in the test's own process, and a client of its private REST."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from palaver.auth.bootstrap import serve
from palaver.runtime.settings import AuthSettings, Settings
from tests.harness.services import running_service

PASSWORD = "correct horse"
# A password then costs a tenth of a millisecond, and is not safe
CHEAP = {"port": 0, "argon2_time_cost": 1, "argon2_memory_kib": 8}


@dataclass
class HttpResponse:
    """What the service said."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def refusal(self) -> tuple[int, str, str | None]:
        """Status, kind and field of an error."""
        return self.status, self.body["code"], self.body.get("field")


class AuthApi:
    """Calls of the private REST; `stopping` is what SIGTERM sets."""

    def __init__(self, session: aiohttp.ClientSession, port: int, stopping: asyncio.Event) -> None:
        self.session = session
        self.port = port
        self.stopping = stopping

    async def call(self, method: str, path: str, token: str = "", **options: Any) -> HttpResponse:
        headers = options.pop("headers", {}) | ({"authorization": f"Bearer {token}"} if token else {})
        async with self.session.request(method, path, headers=headers, **options) as found:
            is_json = found.content_type == "application/json"
            body = await found.json() if is_json else await found.text()
            return HttpResponse(found.status, body, dict(found.headers))

    async def sign_up(self, email: str, headers: dict[str, str] | None = None, **fields: Any) -> HttpResponse:
        form = {
            "email": email,
            "password": PASSWORD,
            "name": "Alice",
            "surname": "Liddell",
            "birthday": "1990-05-04",
            "sex": "female",
            "city": "Oxford",
            "interests": "chess",
        }
        return await self.call("POST", "/users", json=form | fields, headers=headers or {})

    async def sign_in(
        self, email: str, password: str = PASSWORD, headers: dict[str, str] | None = None
    ) -> HttpResponse:
        pair = {"email": email, "password": password}
        return await self.call("POST", "/sessions", json=pair, headers=headers or {})

    async def refresh(self, token: str) -> HttpResponse:
        return await self.call("POST", "/sessions/refresh", json={"refresh_token": token})

    async def signed_in_user(self, email: str, **fields: Any) -> dict[str, Any]:
        """The token pair of a new user."""
        assert (await self.sign_up(email, **fields)).status == 201
        found = await self.sign_in(email)
        assert found.status == 201, found
        pair: dict[str, Any] = found.body
        return pair


def settings_of(data_dir: Path, **auth: Any) -> Settings:
    """Cheap settings on a free port."""
    return Settings(data_dir=data_dir, auth=AuthSettings.model_validate(CHEAP | auth))


@contextlib.asynccontextmanager
async def running_auth(data_dir: Path, **auth: Any) -> AsyncIterator[AuthApi]:
    """An auth that serves during the block, then stops as on SIGTERM."""
    async with (
        running_service(serve, settings_of(data_dir, **auth)) as (service, (port,)),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield AuthApi(session, port, service.stopping)
