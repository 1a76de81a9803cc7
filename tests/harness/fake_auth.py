"""What the messenger needs of auth, and no more: users' names, and a key that tokens are verified with."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from palaver.contracts.accounts import UserLookup
from palaver.contracts.ids import new_id, text_from_id
from palaver.runtime.http.server import serving_http
from palaver.runtime.tokens import Claims, sign_token

KEY_ID = "first"


@dataclass
class FakeAuth:
    """Its users and its key. `lookups` has the ids of each look-up; `away`: it answers 503."""

    users: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    lookups: list[list[bytes]] = field(default_factory=list)
    key_reads: int = 0
    away: bool = False
    url: str = ""

    def sign_up(self, name: str, surname: str = "Smith") -> bytes:
        """A new user's id."""
        user_id = new_id()
        self.users[user_id] = (name, surname)
        return user_id

    def token(self, user_id: bytes, key: Ed25519PrivateKey | None = None, seconds: int = 600) -> str:
        """An access token of a new session."""
        now = int(time.time())
        return sign_token(Claims(user_id, new_id(), now, now + seconds), key or self.key, KEY_ID)

    async def tell_keys(self, _: Request) -> Response:
        """`GET /.well-known/jwks.json`."""
        self.key_reads += 1
        if self.away:
            return answer(503, {"code": "unavailable", "message": "away"})
        entry = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return answer(200, {"keys": [{**entry, "kid": KEY_ID}]})

    async def tell_names(self, request: Request) -> Response:
        """`POST /users/names`."""
        ids = [user.bytes for user in UserLookup.model_validate_json(await request.body()).ids]
        self.lookups.append(ids)
        if self.away:
            return answer(503, {"code": "unavailable", "message": "away"})
        found = [
            {"id": text_from_id(user), "name": self.users[user][0], "surname": self.users[user][1]}
            for user in ids
            if user in self.users
        ]
        return answer(200, {"users": found})


def answer(status: int, content: object) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


@contextlib.asynccontextmanager
async def running_fake_auth() -> AsyncIterator[FakeAuth]:
    """Serves on a free port during the block."""
    auth = FakeAuth()
    app = Starlette(
        routes=[
            Route("/.well-known/jwks.json", auth.tell_keys),
            Route("/users/names", auth.tell_names, methods=["POST"]),
        ]
    )
    async with serving_http(app, "127.0.0.1", 0) as server:
        port = server.servers[0].sockets[0].getsockname()[1]
        auth.url = f"http://127.0.0.1:{port}"
        yield auth
