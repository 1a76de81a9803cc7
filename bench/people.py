"""Users, chats and their tokens, as the bench needs them: made through the public API, 8 at a time."""

import asyncio
import json
from dataclasses import dataclass
from itertools import count
from typing import Any

from bench.wire import Http, open_http, request_of

PASSWORD = "correct horse battery staple"
PARALLEL = 8

Address = tuple[str, int]


@dataclass(frozen=True)
class User:
    """Somebody signed in."""

    id: str
    email: str
    token: str


@dataclass(frozen=True)
class Pair:
    """Two users and their direct chat."""

    sender: User
    recipient: User
    chat_id: str


async def ask_json(http: Http, method: str, path: str, token: str = "", body: Any = None) -> Any:
    """The answer's JSON. Raises `RuntimeError` where it is no 2xx."""
    content = json.dumps(body).encode() if body is not None else b""
    status, answer = await http.ask(request_of(method, path, token, content))
    if not 200 <= status < 300:
        raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
    return json.loads(answer) if answer else None


async def make_users(address: Address, number: int, name: str) -> list[User]:
    """Signs `number` users up and in. `name` makes their emails unique on this server."""
    users: list[User | None] = [None] * number
    places = count()

    async def work() -> None:
        http = await open_http(address)
        while (place := next(places)) < number:
            users[place] = await make_user(http, f"{name}-{place}@example.com")
        http.transport.close()

    await asyncio.gather(*(work() for _ in range(min(PARALLEL, number))))
    return [user for user in users if user is not None]


async def make_user(http: Http, email: str) -> User:
    """Signs one user up and in."""
    profile = {
        "email": email,
        "password": PASSWORD,
        "name": "Bench",
        "surname": "User",
        "birthday": "1994-04-10",
        "sex": "male",
        "city": "Berlin",
        "interests": "speed",
    }
    user = await ask_json(http, "POST", "/v2/users", body=profile)
    tokens = await ask_json(http, "POST", "/v2/sessions", body={"email": email, "password": PASSWORD})
    return User(user["id"], email, tokens["access_token"])


async def make_pairs(address: Address, number: int, name: str) -> list[Pair]:
    """Pairs of new users with a direct chat each."""
    users = await make_users(address, 2 * number, name)
    http = await open_http(address)
    pairs = []
    for sender, recipient in zip(users[::2], users[1::2], strict=True):
        body = {"companion_id": recipient.id}
        chat = await ask_json(http, "POST", "/v2/chats", sender.token, body)
        pairs.append(Pair(sender, recipient, chat["id"]))
    http.transport.close()
    return pairs


def relay_pairs(number: int) -> list[Pair]:
    """Pairs as `bench.relay` knows them."""
    return [
        Pair(
            User(relay_id(place), "", f"relay-{place}-0"),
            User(relay_id(place), "", f"relay-{place}-1"),
            relay_id(place),
        )
        for place in range(number)
    ]


def relay_id(number: int) -> str:
    """An id that looks like one."""
    return f"01890000-0000-7000-8000-{number:012x}"
