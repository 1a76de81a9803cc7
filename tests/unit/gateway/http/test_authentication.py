"""Access tokens at the door."""

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import new_id, text_from_id
from tests.harness.scripted_upstreams import BOB, Door, ScriptedAuth, open_door
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
        "other key": f"Bearer {ScriptedAuth().token()}",
        "old": f"Bearer {token}",
    }


@pytest.mark.parametrize("wrong", wrong_headers("a.b.c"))
async def test_wrong_tokens_are_401(door: Door, wrong: str) -> None:
    """Anybody could act as anybody; or a client could not tell that it must sign in again."""
    token = door.auth.token(lives=-60) if wrong == "old" else door.token
    header = wrong_headers(token)[wrong]
    is_problem(await door.call("GET", "/v2/chats", token="", authorization=header), 401, "unauthenticated")
    is_old_error(await door.call("GET", "/messenger/chats", token="", authorization=header), 401)
    assert not door.messenger.asked


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer  "])
async def test_old_generations_take_a_token_with_or_without_bearer(door: Door, prefix: str) -> None:
    """Every old client sends the token alone, and all of them would be signed out."""
    door.messenger.answers["ListChats"] = pb.ChatPage()
    answer = await door.call("GET", "/messenger/chats", authorization=prefix + door.token)
    assert answer.status == 200


async def test_v2_wants_the_scheme(door: Door) -> None:
    """A bare token would work until a proxy between that reads the scheme refuses it."""
    is_problem(await door.call("GET", "/v2/chats", authorization=door.token), 401, "unauthenticated")


async def test_an_ended_session_is_told_so(door: Door) -> None:
    """A stolen device would go on reading for as long as its access token lives."""
    session = new_id()
    token = door.auth.token(BOB, session)
    door.messenger.answers["ListChats"] = pb.ChatPage()
    assert (await door.call("GET", "/v2/chats", token=token)).status == 200
    door.auth.answers["GET /revocations"] = {"session_ids": [text_from_id(session)], "position": 7}
    await door.services.revocations.poll()
    is_problem(await door.call("GET", "/v2/chats", token=token), 401, "session_revoked")
    is_old_error(await door.call("GET", "/messenger/chats", token=token), 401)


async def test_without_auth_known_keys_still_serve() -> None:
    """A restart of auth would sign everybody out, or stop all reading."""
    async with open_door() as door:
        door.messenger.answers["ListChats"] = pb.ChatPage()
        assert (await door.call("GET", "/v2/chats")).status == 200
        door.auth.answers.clear()
        assert (await door.call("GET", "/v2/chats", token=door.auth.token())).status == 200
