"""v2 users."""

from typing import Any

import pytest

from palaver.contracts.errors import CONFLICT, NOT_FOUND, PalaverError
from tests.harness.scripted_upstreams import ALICE_ACCOUNT, GatewayClient
from tests.unit.gateway.http.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_ALICE = {key: value for key, value in ALICE_ACCOUNT.items() if key not in ("id", "created_at")} | {
    "password": "correct horse"
}


async def test_sign_up(gateway: GatewayClient) -> None:
    """Nobody could join."""
    gateway.auth.answers["POST /users"] = (201, ALICE_ACCOUNT)
    answer = await gateway.call("POST", "/v2/users", NEW_ALICE, token="")
    assert (answer.status, answer.json) == (201, ALICE_ACCOUNT)
    assert gateway.auth.calls[-1].body == {**NEW_ALICE}


async def test_a_taken_email_is_a_conflict(gateway: GatewayClient) -> None:
    """A sign-up form could not say that one has an account already."""
    gateway.auth.answers["POST /users"] = PalaverError(CONFLICT, "the email is taken", field="email")
    answer = await gateway.call("POST", "/v2/users", NEW_ALICE)
    is_problem(answer, 409, "conflict")
    assert answer.json["errors"] == [{"field": "email", "message": "the email is taken"}]


@pytest.mark.parametrize(
    "change",
    [
        {"password": "1234567"},
        {"password": "x" * 257},
        {"birthday": 0},
        {"birthday": "1995-10-10T00:00:00Z"},
        {"birthday": "1995-02-30"},
        {"sex": "unknown"},
        {"name": ""},
        {"city": "a\0b"},
        {"old_rules": True},
    ],
)
async def test_sign_up_refuses(gateway: GatewayClient, change: dict[str, Any]) -> None:
    """Accounts would be made that cannot be used, or whose password is too weak for new clients."""
    answer = await gateway.call("POST", "/v2/users", {**NEW_ALICE, **change})
    is_problem(answer, 422, "invalid")
    assert [error["field"] for error in answer.json["errors"]] == list(change)
    assert not gateway.auth.calls


async def test_the_caller(gateway: GatewayClient) -> None:
    """A client could not show its user's own profile."""
    gateway.auth.answers["GET /users/me"] = ALICE_ACCOUNT
    assert (await gateway.call("GET", "/v2/users/me")).json == ALICE_ACCOUNT
    assert gateway.auth.calls[-1].headers["authorization"] == f"Bearer {gateway.token}"


async def test_a_change_sends_what_is_given_alone(gateway: GatewayClient) -> None:
    """Changing the city would empty the rest of the profile."""
    gateway.auth.answers["PATCH /users/me"] = {**ALICE_ACCOUNT, "city": ""}
    answer = await gateway.call("PATCH", "/v2/users/me", {"city": "", "birthday": "1995-10-11"})
    assert (answer.status, answer.json["city"]) == (200, "")
    assert gateway.auth.calls[-1].body == {"city": "", "birthday": "1995-10-11"}


async def test_find_by_email(gateway: GatewayClient) -> None:
    """Nobody could be found to talk to; or an unknown email would look like a broken address."""
    gateway.auth.answers["GET /users/by-email"] = ALICE_ACCOUNT
    answer = await gateway.call("GET", "/v2/users?email=alice%2Bx%40email.com")
    assert answer.json == {"users": [ALICE_ACCOUNT], "next_cursor": None, "has_more": False}
    assert gateway.auth.calls[-1].query == {"email": "alice+x@email.com"}
    gateway.auth.answers["GET /users/by-email"] = PalaverError(NOT_FOUND)
    answer = await gateway.call("GET", "/v2/users?email=nobody%40email.com")
    assert (answer.status, answer.json) == (200, {"users": [], "next_cursor": None, "has_more": False})


async def test_find_by_name(gateway: GatewayClient) -> None:
    """Pages of a search would not lead to the next."""
    gateway.auth.answers["GET /users/search"] = {"users": [ALICE_ACCOUNT], "next_cursor": "n", "total": None}
    answer = await gateway.call("GET", "/v2/users?q=al+sw&limit=1&cursor=c")
    assert answer.json == {"users": [ALICE_ACCOUNT], "next_cursor": "n", "has_more": True}
    assert gateway.auth.calls[-1].query == {"q": "al sw", "limit": "1", "cursor": "c"}
