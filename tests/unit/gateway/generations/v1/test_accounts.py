"""v1 accounts and users, and v0's one path: keys and types to the byte."""

from typing import Any

import pytest

from palaver.contracts.errors import CONFLICT, NOT_FOUND, UNAUTHENTICATED, PalaverError
from tests.harness.scripted_upstreams import ALICE, ALICE_ACCOUNT, TOKEN_PAIR, GatewayClient
from tests.unit.gateway.http.test_errors import is_old_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_BOB = {
    "email": "bob@email.com",
    "password": "1",
    "name": "Bob",
    "surname": "Tallor",
    "birthday": "1994-04-10T20:21:25+00:00",
    "sex": "male",
    "city": "New Yourk",
    "interests": "programming",
}
OLD_ALICE = (
    f'{{"id":"{ALICE}","email":"alice@email.com","name":"Alice","surname":"Swift",'
    '"birthday":"1995-10-10T00:00:00Z","sex":"female","city":"California","interests":"running"}'
).encode()


@pytest.mark.parametrize(
    ("birthday", "day"),
    [
        ("1994-04-10T20:21:25+00:00", "1994-04-10"),
        ("1994-04-10T00:00:00Z", "1994-04-10"),
        ("1994-04-10T23:59:59.123456789-11:00", "1994-04-10"),
        ("1994-04-10", "1994-04-10"),
    ],
)
async def test_sign_up(gateway: GatewayClient, birthday: str, day: str) -> None:
    """Old clients could not sign anybody up; or birthdays would move by time zones."""
    gateway.auth.answers["POST /users"] = (201, ALICE_ACCOUNT)
    answer = await gateway.call(
        "POST", "/auth/sign-up", {**NEW_BOB, "birthday": birthday, "unknown": 1}, token=""
    )
    assert (answer.status, answer.body) == (200, b"{}")
    assert gateway.auth.calls[-1].body == {**NEW_BOB, "birthday": day, "old_rules": True}


@pytest.mark.parametrize("missing", NEW_BOB)
async def test_sign_up_needs_every_field(gateway: GatewayClient, missing: str) -> None:
    """An account would be made that the old clients' screens cannot show."""
    body = {key: value for key, value in NEW_BOB.items() if key != missing}
    answer = await gateway.call("POST", "/auth/sign-up", body)
    is_old_error(answer, 400)
    assert missing in answer.json["message"]


@pytest.mark.parametrize(
    "change",
    [{"birthday": "10.04.1994"}, {"birthday": 766_000_000}, {"birthday": "1994-02-30"}, {"sex": "other"}],
)
async def test_sign_up_refuses(gateway: GatewayClient, change: dict[str, Any]) -> None:
    """A wrong birthday would be stored as another day."""
    is_old_error(await gateway.call("POST", "/auth/sign-up", {**NEW_BOB, **change}), 400)


async def test_a_taken_email(gateway: GatewayClient) -> None:
    """An old client would report a broken server where one has an account already."""
    gateway.auth.answers["POST /users"] = PalaverError(CONFLICT, "the email is taken", field="email")
    answer = await gateway.call("POST", "/auth/sign-up", NEW_BOB)
    is_old_error(answer, 409)


@pytest.mark.parametrize(
    ("method", "path", "asked", "body"),
    [
        ("POST", "/auth/sign-in", "POST /sessions", {"email": "bob@email.com", "password": "1"}),
        ("PUT", "/auth/token", "POST /sessions/refresh", {"refresh_token": "old"}),
    ],
)
async def test_tokens(gateway: GatewayClient, method: str, path: str, asked: str, body: Any) -> None:
    """Old clients could not sign in, or would be signed out after half an hour."""
    gateway.auth.answers[asked] = TOKEN_PAIR
    answer = await gateway.call(method, path, body, token="")
    assert (answer.status, answer.body) == (200, b'{"access_token":"a.b.c","refresh_token":"refresh"}')
    gateway.auth.answers[asked] = PalaverError(UNAUTHENTICATED)
    is_old_error(await gateway.call(method, path, body, token=""), 401)
    is_old_error(await gateway.call(method, path, {}, token=""), 400)


@pytest.mark.parametrize("path", ["/auth/user/get-by-email", "/auth/user"])
async def test_find_by_email(gateway: GatewayClient, path: str) -> None:
    """Old clients could not find whom to talk to, by either generation's path."""
    gateway.auth.answers["GET /users/by-email"] = ALICE_ACCOUNT
    answer = await gateway.call("GET", f"{path}?email=alice@email.com")
    assert (answer.status, answer.body) == (200, f'{{"user_id":"{ALICE}"}}'.encode())
    gateway.auth.answers["GET /users/by-email"] = PalaverError(NOT_FOUND, "there is no such user")
    is_old_error(await gateway.call("GET", f"{path}?email=nobody@email.com"), 400)
    is_old_error(await gateway.call("GET", path), 400)
    is_old_error(await gateway.call("GET", f"{path}?email=alice@email.com", token=""), 401)


async def test_the_caller(gateway: GatewayClient) -> None:
    """Old clients could not show their user's profile."""
    gateway.auth.answers["GET /users/me"] = ALICE_ACCOUNT
    assert (await gateway.call("GET", "/auth/user/get-by-token")).body == OLD_ALICE


async def test_search(gateway: GatewayClient) -> None:
    """Old clients could not page through a search."""
    gateway.auth.answers["GET /users/search"] = {"users": [ALICE_ACCOUNT], "next_cursor": None, "total": 21}
    path = "/social/profile/search-by-anthroponym?anthroponym=al%20sw"
    answer = await gateway.call("GET", path)
    assert answer.body == b'{"count":21,"users":[' + OLD_ALICE + b"]}"
    await gateway.call("GET", f"{path}&limit=5000&offset=20")
    first, second = [asked.query for asked in gateway.auth.calls if asked.path == "/users/search"]
    assert first == {"q": "al sw", "limit": "10", "offset": "0", "with_total": "true"}
    assert (second["limit"], second["offset"]) == ("1000", "20")
