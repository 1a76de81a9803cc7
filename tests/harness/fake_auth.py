"""A fake auth: an HTTP server with users' names and the key of their tokens, which answers by a script."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts.accounts import UserLookup
from palaver.contracts.errors import INTERNAL, UNAVAILABLE, PalaverError, error_to_wire
from palaver.contracts.ids import new_id, text_from_id
from palaver.runtime.http.server import serving_http
from tests.harness.keys import Keys


@dataclass
class AuthRequest:
    """One request that auth got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeAuth:
    """An ASGI application. `answers["METHOD /path"]` is a JSON object, a status with one, an error of the
    catalogue, a function of the request that returns one of those; or a list of them, to be taken in turn.

    `calls`: all requests. `lookups`: the ids of each look-up of names. `away`: it answers 503 to everything.
    """

    keys: Keys = field(default_factory=Keys)
    users: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[AuthRequest] = field(default_factory=list)
    lookups: list[list[bytes]] = field(default_factory=list)
    away: bool = False
    url: str = ""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets its script and requests. It answers readiness, keys, revocations and names."""
        self.calls.clear()
        self.answers = {
            "GET /.well-known/jwks.json": self.keys.jwks,
            "GET /readyz": {"ready": True},
            "GET /revocations": {"session_ids": [], "position": 0},
            "POST /users/names": self.find_names,
        }

    def sign_up(self, name: str, surname: str = "Smith") -> bytes:
        """A new user's id."""
        user_id = new_id()
        self.users[user_id] = (name, surname)
        return user_id

    def token(self, user_id: bytes, session_id: bytes | None = None, seconds: int = 600) -> str:
        """An access token of a session, by default of a new one. It expires in `seconds`."""
        return self.keys.token(user_id, session_id, seconds)

    def find_names(self, request: AuthRequest) -> Any:
        """The names of those users that it knows."""
        ids = [user.bytes for user in UserLookup.model_validate(request.body).ids]
        self.lookups.append(ids)
        known = [(user, *self.users[user]) for user in ids if user in self.users]
        return {
            "users": [
                {"id": text_from_id(user), "name": name, "surname": surname} for user, name, surname in known
            ]
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = await read_request(Request(scope, receive))
        self.calls.append(request)
        answer = self.answers.get(f"{request.method} {request.path}")
        if isinstance(answer, list):
            answer = answer.pop(0)
        if callable(answer):
            answer = answer(request)
        await response_of(PalaverError(UNAVAILABLE) if self.away else answer)(scope, receive, send)


async def read_request(request: Request) -> AuthRequest:
    """A request, with its JSON body decoded."""
    body = await request.body()
    return AuthRequest(
        request.method,
        request.url.path,
        dict(request.query_params),
        dict(request.headers),
        msgspec.json.decode(body) if body else None,
    )


def response_of(answer: Any) -> Response:
    """The response for an entry of a script. Without an entry: an internal error, which fails the test."""
    if answer is None:
        answer = PalaverError(INTERNAL)
    if isinstance(answer, PalaverError):
        return Response(msgspec.json.encode(error_to_wire(answer)), answer.kind.http)
    status, body = answer if isinstance(answer, tuple) else (200, answer)
    return Response(b"" if status == 204 else msgspec.json.encode(body), status)


@contextlib.asynccontextmanager
async def running_fake_auth(**options: Any) -> AsyncIterator[FakeAuth]:
    """Serves on a free port during the block. `options`: see `serving_http`."""
    auth = FakeAuth()
    async with serving_http(auth, "127.0.0.1", 0, **options) as server:
        auth.url = f"http://127.0.0.1:{server.port}"
        yield auth
