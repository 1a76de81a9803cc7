"""Access tokens at the door."""

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import new_id, text_from_id
from tests.harness.fake_auth import FakeAuth
from tests.harness.scripted_upstreams import BOB, GatewayClient, running_http_gateway
from tests.unit.gateway.http.test_errors import is_old_error, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")


def wrong_headers(token: str) -> dict[str, str]:
    """Headers that hold no good token, by what is wrong with them."""
    return {
        "none": "",
        "empty": " ",
        "scheme alone": "Bearer",
        "other scheme": f"Basic {token}",
        "no token": "Bearer x",
        "two tokens": f"Bearer {token} {token}",
        "cut": f"Bearer {token[:-4]}",
        "garbage in the signature": f"Bearer {token[:-3]}.{token[-3:]}",
        "not ascii": f"Bearer {token[:-3]}é{token[-3:]}",
        "unsigned": "Bearer eyJhbGciOiJub25lIn0.e30.",
        "other key": f"Bearer {FakeAuth().token(BOB.bytes)}",
        "old": f"Bearer {token}",
    }


@pytest.mark.parametrize("wrong", wrong_headers("a.b.c"))
async def test_wrong_tokens_are_401(gateway: GatewayClient, wrong: str) -> None:
    """Anybody could act as anybody; or a client could not tell that it must sign in again."""
    token = gateway.auth.token(BOB.bytes, seconds=-60) if wrong == "old" else gateway.token
    header = wrong_headers(token)[wrong]
    is_problem(await gateway.call("GET", "/v2/chats", token="", authorization=header), 401, "unauthenticated")
    is_old_error(await gateway.call("GET", "/messenger/chats", token="", authorization=header), 401)
    assert not gateway.messenger.calls


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer  "])
async def test_old_generations_take_a_token_with_or_without_bearer(
    gateway: GatewayClient, prefix: str
) -> None:
    """Every old client sends the token alone, and all of them would be signed out."""
    gateway.messenger.answers["ListChats"] = pb.ChatPage()
    answer = await gateway.call("GET", "/messenger/chats", authorization=prefix + gateway.token)
    assert answer.status == 200


async def test_v2_wants_the_scheme(gateway: GatewayClient) -> None:
    """A bare token would work until a proxy between that reads the scheme refuses it."""
    is_problem(await gateway.call("GET", "/v2/chats", authorization=gateway.token), 401, "unauthenticated")


async def test_an_ended_session_is_told_so(gateway: GatewayClient) -> None:
    """A stolen device would go on reading for as long as its access token lives."""
    session = new_id()
    token = gateway.auth.token(BOB.bytes, session)
    gateway.messenger.answers["ListChats"] = pb.ChatPage()
    assert (await gateway.call("GET", "/v2/chats", token=token)).status == 200
    gateway.auth.answers["GET /revocations"] = {"session_ids": [text_from_id(session)], "position": 7}
    await gateway.services.revocations.poll()
    is_problem(await gateway.call("GET", "/v2/chats", token=token), 401, "session_revoked")
    is_old_error(await gateway.call("GET", "/messenger/chats", token=token), 401)


async def test_without_auth_known_keys_still_serve() -> None:
    """A restart of auth would sign everybody out, or stop all reading."""
    async with running_http_gateway() as gateway:
        gateway.messenger.answers["ListChats"] = pb.ChatPage()
        assert (await gateway.call("GET", "/v2/chats")).status == 200
        gateway.auth.answers.clear()
        assert (await gateway.call("GET", "/v2/chats", token=gateway.auth.token(BOB.bytes))).status == 200
