"""v2 sessions."""

import pytest

from palaver.contracts.errors import NOT_FOUND, RATE_LIMITED, UNAUTHENTICATED, PalaverError
from tests.harness.scripted_upstreams import CHAT, TOKEN_PAIR, GatewayClient
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


async def test_sign_in(gateway: GatewayClient) -> None:
    """Nobody could come in."""
    gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
    answer = await gateway.call("POST", "/v2/sessions", PAIR, token="")
    assert (answer.status, answer.json) == (201, TOKEN_PAIR)
    assert gateway.auth.calls[-1].body == PAIR


async def test_a_wrong_pair_is_401_and_too_many_are_429(gateway: GatewayClient) -> None:
    """A client could not tell a typing error from a lock, nor how long it lasts."""
    gateway.auth.answers["POST /sessions"] = PalaverError(UNAUTHENTICATED, "wrong email or password")
    is_problem(await gateway.call("POST", "/v2/sessions", PAIR), 401, "unauthenticated")
    gateway.auth.answers["POST /sessions"] = PalaverError(RATE_LIMITED, retry_after=59.2)
    answer = await gateway.call("POST", "/v2/sessions", PAIR)
    is_problem(answer, 429, "rate_limited")
    assert answer.headers["retry-after"] == "60"


async def test_refresh(gateway: GatewayClient) -> None:
    """Everybody would be signed out when their access token expires."""
    gateway.auth.answers["POST /sessions/refresh"] = TOKEN_PAIR
    answer = await gateway.call("POST", "/v2/sessions/refresh", {"refresh_token": "old"}, token="")
    assert (answer.status, answer.json) == (200, TOKEN_PAIR)
    assert gateway.auth.calls[-1].body == {"refresh_token": "old"}


async def test_list(gateway: GatewayClient) -> None:
    """A user could not see which devices are signed in."""
    gateway.auth.answers["GET /sessions"] = {"sessions": [SESSION]}
    assert (await gateway.call("GET", "/v2/sessions")).json == {"sessions": [SESSION]}


async def test_sign_out(gateway: GatewayClient) -> None:
    """A device could not be signed out, its own or a lost one."""
    gateway.auth.answers["DELETE /sessions/current"] = (204, None)
    answer = await gateway.call("DELETE", "/v2/sessions/current")
    assert (answer.status, answer.body) == (204, b"")
    gateway.auth.answers[f"DELETE /sessions/{CHAT}"] = (204, None)
    assert (await gateway.call("DELETE", f"/v2/sessions/{str(CHAT).upper()}")).status == 204
    gateway.auth.answers[f"DELETE /sessions/{CHAT}"] = PalaverError(NOT_FOUND)
    is_problem(await gateway.call("DELETE", f"/v2/sessions/{CHAT}"), 404, "not_found")
