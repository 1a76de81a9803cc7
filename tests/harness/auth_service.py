"""An auth service in the test's own process, and a client of its private REST."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from palaver.auth.bootstrap import serve
from palaver.auth.database import location_of
from palaver.runtime.settings import Settings
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.sql.locations import Location
from tests.harness.http_client import HttpClient, HttpResponse
from tests.harness.inside import HEADERS, SECRETS
from tests.harness.mariadb import MariadbSchema
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


# For tests of what never comes to the database
on_one_engine = pytest.mark.parametrize("auth_home", ["sqlite"], indirect=True)


@dataclass(frozen=True)
class AuthHome:
    """Where auths of one test keep accounts: a file in a directory, or a schema of MariaDB's."""

    data_dir: Path
    schema: MariadbSchema | None = None

    def settings(self, **auth: Any) -> Settings:
        """Cheap settings on a free port."""
        url = {} if self.schema is None else {"database_url": self.schema.url}
        return settings_of(self.data_dir, **url, **auth)

    @property
    def location(self) -> Location:
        """Where the database is."""
        return location_of(self.settings())

    def running(self, **auth: Any) -> contextlib.AbstractAsyncContextManager[AuthApi]:
        """An auth that serves during the block. Several may, at once or one after the other."""
        return running_auth(self.data_dir, **self.settings(**auth).auth.model_dump(exclude_unset=True))

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a statement, whose parameters are question marks, beside what runs."""
        if self.schema is not None:
            return list(self.schema.execute(statement.replace("?", "%s"), *parameters))
        file = self.data_dir / "auth.db"
        with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as connection:
            return connection.execute(statement, parameters).fetchall()

    def stored(self) -> bytes:
        """All that lies in the database, or more."""
        if self.schema is None:
            return b"".join(file.read_bytes() for file in self.data_dir.iterdir())
        rows = [
            row for table in self.schema.tables() for row in self.schema.execute(f"SELECT * FROM {table}")
        ]
        return b" ".join(
            value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
        )
