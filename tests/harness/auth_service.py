"""An auth service in the test's own process, and a client of its private REST."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from json import dumps
from pathlib import Path
from typing import Any

import aiohttp

from palaver.auth.bootstrap import serve
from palaver.runtime.settings import Settings
from palaver.runtime.settings.auth import AuthSettings
from tests.harness.http_client import HttpClient, HttpResponse
from tests.harness.inside import HEADERS, SECRETS
from tests.harness.services import running_service

PASSWORD = "correct horse"
# A password then costs a tenth of a millisecond, and is not safe
CHEAP = {"port": 0, "argon2_time_cost": 1, "argon2_memory_kib": 8}


class AuthApi(HttpClient):
    """The private REST of auth. `stopping` is what SIGTERM sets."""

    def __init__(self, http: aiohttp.ClientSession, port: int, stopping: asyncio.Event) -> None:
        super().__init__(http, f"http://127.0.0.1:{port}")
        self.port = port
        self.stopping = stopping

    async def call(
        self,
        method: str,
        path: str,
        token: str = "",
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> HttpResponse:
        """One request. `json` goes as JSON in ASCII, which can spell lone surrogates; `data` as it is."""
        given = HEADERS | (headers or {}) | ({"authorization": f"Bearer {token}"} if token else {})
        body = data if json is None else dumps(json).encode()
        return await self.request(method, path, body, given, params)

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
        pair: dict[str, Any] = found.json
        return pair


def settings_of(data_dir: Path, **auth: Any) -> Settings:
    """Cheap settings on a free port."""
    return Settings(data_dir=data_dir, secret=SECRETS, auth=AuthSettings.model_validate(CHEAP | auth))


@contextlib.asynccontextmanager
async def running_auth(data_dir: Path, **auth: Any) -> AsyncIterator[AuthApi]:
    """An auth that serves during the block, then stops as on SIGTERM."""
    async with (
        running_service(serve, settings_of(data_dir, **auth)) as (service, (port,)),
        aiohttp.ClientSession() as http,
    ):
        yield AuthApi(http, port, service.stopping)
