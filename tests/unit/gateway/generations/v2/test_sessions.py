"""v2 sessions."""

import pytest

from palaver.contracts.errors import NOT_FOUND, RATE_LIMITED, UNAUTHENTICATED, PalaverError
from tests.harness.scripted_upstreams import CHAT, TOKEN_PAIR, Door
from tests.unit.gateway.http.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIR = {"email": "bob@email.com", "password": "1234567890"}
SESSION = {
    "id": str(CHAT),
    "created_at": "2024-12-27T20:21:25.120331Z",
    "last_used_at": "2024-12-27T20:21:25.120331Z",
    "agent": "curl/8.5.0",
    "address": "203.0.113.7",
    "current": True,
}


async def test_sign_in(door: Door) -> None:
    """Nobody could come in."""
    door.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
    answer = await door.call("POST", "/v2/sessions", PAIR, token="")
    assert (answer.status, answer.json) == (201, TOKEN_PAIR)
    assert door.auth.asked[-1].body == PAIR


async def test_a_wrong_pair_is_401_and_too_many_are_429(door: Door) -> None:
    """A client could not tell a typing error from a lock, nor how long it lasts."""
    door.auth.answers["POST /sessions"] = PalaverError(UNAUTHENTICATED, "wrong email or password")
    is_problem(await door.call("POST", "/v2/sessions", PAIR), 401, "unauthenticated")
    door.auth.answers["POST /sessions"] = PalaverError(RATE_LIMITED, retry_after=59.2)
    answer = await door.call("POST", "/v2/sessions", PAIR)
    is_problem(answer, 429, "rate_limited")
    assert answer.headers["retry-after"] == "60"


async def test_refresh(door: Door) -> None:
    """Everybody would be signed out when their access token expires."""
    door.auth.answers["POST /sessions/refresh"] = TOKEN_PAIR
    answer = await door.call("POST", "/v2/sessions/refresh", {"refresh_token": "old"}, token="")
    assert (answer.status, answer.json) == (200, TOKEN_PAIR)
    assert door.auth.asked[-1].body == {"refresh_token": "old"}


async def test_list(door: Door) -> None:
    """A user could not see which devices are signed in."""
    door.auth.answers["GET /sessions"] = {"sessions": [SESSION]}
    assert (await door.call("GET", "/v2/sessions")).json == {"sessions": [SESSION]}


async def test_sign_out(door: Door) -> None:
    """A device could not be signed out, its own or a lost one."""
    door.auth.answers["DELETE /sessions/current"] = (204, None)
    answer = await door.call("DELETE", "/v2/sessions/current")
    assert (answer.status, answer.content) == (204, b"")
    door.auth.answers[f"DELETE /sessions/{CHAT}"] = (204, None)
    assert (await door.call("DELETE", f"/v2/sessions/{str(CHAT).upper()}")).status == 204
    door.auth.answers[f"DELETE /sessions/{CHAT}"] = PalaverError(NOT_FOUND)
    is_problem(await door.call("DELETE", f"/v2/sessions/{CHAT}"), 404, "not_found")
