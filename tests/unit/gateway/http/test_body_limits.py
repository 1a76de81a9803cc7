"""How large a request may be, and what its JSON may be made of."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.runtime.http import exception_handlers
from palaver.runtime.http.json_bounds import check_json
from tests.harness.scripted_upstreams import ALICE_ACCOUNT, BOB, CHAT, GatewayClient
from tests.unit.gateway.http.test_errors import is_old_error, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = f"/v2/chats/{CHAT}/messages"
OPEN_PATHS = ["/v2/users", "/v2/sessions", "/v2/sessions/refresh", "/auth/sign-up", "/auth/sign-in"]

ZEROS = b"0," * 200_000 + b"0"
NEW_USER = (
    b'{"email": "a@b.com", "password": "12345678", "name": "A", "surname": "B", "birthday": "2000-01-01", '
    b'"sex": "male", "city": "", "interests": ""'
)
# What each request that has a body could be made of, at its worst
PILES = {
    "a list of zeros": b'{"messages": [' + ZEROS + b'], "member_ids": [' + ZEROS + b"]}",
    "a list of texts": b'{"messages": [' + b'"",' * 100_000 + b'""]}',
    "a list of objects": b'{"messages": [' + b"{}," * 100_000 + b"{}]}",
    "a list of lists": b'{"messages": ' + b"[[]," * 50_000 + b"0" + b"]" * 50_000 + b"}",
    "unknown fields": b'{"text": "a"' + b"".join(b',"k%d":0' % n for n in range(60_000)) + b"}",
    "one field again and again": b'{"text": "a"' + b',"text":"b"' * 60_000 + b"}",
    "depth": b"[" * 500_000,
    "depth of objects": b'{"a":' * 100_000,
    "a long number": b'{"text": ' + b"9" * 500_000 + b"}",
    "a large number": b'{"messages": [1e999999, -1E999999]}',
    "a long fraction": b'{"text": 0.' + b"0" * 500_000 + b"1}",
    "another encoding": '{"messages": ["∀", 0]}'.encode("utf-16-le"),
    "quotes": b'"' * 500_000,
    "escapes": b'{"text": "' + b"\\\\" * 200_000 + b'"',
    "no JSON": b"\xff" * 500_000,
    "bad ids": b'{"user_ids": [' + b'"x",' * 10_000 + b'"x"], "member_ids": [' + b"null," * 5_000 + b"0]}",
    "bad messages": b'{"messages": [' + b'{"x":0},' * 200 + b"0]}",
    "few unknown fields": b'{"text": "a"' + b"".join(b',"k%d":0' % n for n in range(250)) + b"}",
}


@pytest.fixture
def errors_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many errors each refused body has cost."""
    made: list[int] = []
    shape = exception_handlers.validation_error

    def count(error: Any) -> Any:
        made.append(len(error.errors()))
        return shape(error)

    monkeypatch.setattr(exception_handlers, "validation_error", count)
    return made


@pytest.mark.parametrize("pile", PILES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/chats"),
        ("POST", MESSAGES),
        ("PATCH", f"{MESSAGES}/1"),
        ("POST", f"/v2/chats/{CHAT}/members"),
        ("PUT", f"/v2/chats/{CHAT}/receipt"),
        ("PATCH", "/v2/users/me"),
        ("POST", "/v2/users"),
        ("PUT", "/auth/token"),
        ("POST", "/messenger/create-chat"),
    ],
)
async def test_no_body_costs_more_than_its_bytes(
    gateway: GatewayClient, errors_made: list[int], method: str, path: str, pile: str
) -> None:
    """One body of a million zeros, or of unknown fields, would keep everybody waiting for many seconds."""
    answer = await gateway.call(method, path, PILES[pile])
    assert answer.status in (400, 413, 422)
    assert sum(errors_made) <= 350
    # What was sent does not come back
    assert len(answer.body) < 6_000


@pytest.mark.parametrize("path", OPEN_PATHS)
async def test_who_is_not_signed_in_sends_little(gateway: GatewayClient, path: str) -> None:
    """Anybody could make the gateway hold and parse a megabyte, again and again, without an account."""
    for token in ("", None):
        answer = await gateway.call("POST", path, NEW_USER + b', "x": "' + b"x" * 32_768 + b'"}', token=token)
        assert answer.status == 413
    assert not gateway.auth.calls


async def test_the_longest_account_is_taken(gateway: GatewayClient) -> None:
    """Somebody whose client escapes their script could not sign up with a long profile."""
    gateway.auth.answers["POST /users"] = (201, ALICE_ACCOUNT)
    fire = "\N{FIRE}"
    account = {"email": "a@b.com", "password": fire * 256, "name": fire * 100, "surname": fire * 100}
    account |= {"birthday": "2000-01-01", "sex": "male", "city": fire * 1000, "interests": fire * 1000}
    assert (await gateway.call("POST", "/v2/users", json.dumps(account).encode())).status == 201


async def test_a_large_body_needs_a_token_before_it_is_read(gateway: GatewayClient) -> None:
    """Anybody could make the gateway hold a megabyte without an account, on the paths that take as much."""
    head = f"POST {MESSAGES} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()
    for more in (
        b"content-length: 900000\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n9000\r\n" + b" " * 0x9000,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head + more)
        status = await asyncio.wait_for(reader.readline(), 5)
        assert status.split()[1] == b"401"
        writer.close()
        await writer.wait_closed()


async def test_a_long_message_is_taken(gateway: GatewayClient) -> None:
    """The longest texts, escaped by a careful client, would not fit the bounds of a body."""
    gateway.messenger.answers["SendMessages"] = pb.SentMessages()
    body = json.dumps({"messages": [{"text": "\N{FIRE}" * 700, "client_id": str(BOB)} for _ in range(100)]})
    answer = await gateway.call("POST", MESSAGES, body.encode())
    assert answer.status == 201
    assert len(gateway.messenger.requests("SendMessages")[0].texts) == 100


async def test_a_group_of_the_most_members_is_taken(gateway: GatewayClient) -> None:
    """The largest allowed group could not be created."""
    gateway.messenger.answers["CreateGroup"] = pb.Chat(id=CHAT.bytes, created_by=BOB.bytes)
    body = {"title": "All of us", "member_ids": [str(UUID(int=number)) for number in range(1_000)]}
    assert (await gateway.call("POST", "/v2/chats", json.dumps(body, indent=8).encode())).status == 201


async def test_text_is_not_counted_as_structure(gateway: GatewayClient) -> None:
    """A message of punctuation would be refused."""
    gateway.messenger.answers["SendMessages"] = pb.SentMessages()
    for text in ('["\\' * 4_000, ",:{}[]" * 2_000, '\\"' * 8_000, "\\" * 16_000):
        assert (await gateway.call("POST", MESSAGES, {"text": text})).status == 201
        assert gateway.messenger.requests("SendMessages")[-1].texts == [text]


@pytest.mark.parametrize("path", ["/v2/users?q=a", "/messenger/chats?limit=1"])
async def test_a_query_has_few_parameters(gateway: GatewayClient, path: str) -> None:
    """A request line of thousands of parameters would cost an object each."""
    answer = await gateway.call("GET", path + "&x=1" * 100)
    if path.startswith("/v2"):
        is_problem(answer, 422, "invalid")
    else:
        is_old_error(answer, 400)


async def test_a_refusal_does_not_repeat_what_was_sent(gateway: GatewayClient) -> None:
    """A refusal would be as large as the request, and bring an attacker's script into a log or a page."""
    answer = await gateway.call("POST", "/v2/sessions", NEW_USER + b', "' + b"k" * 30_000 + b'": 0}')
    is_problem(answer, 422, "invalid")
    assert len(answer.body) < 6_000


@pytest.mark.parametrize(
    ("body", "most_fields", "most_values"),
    [
        (b'{"a": [1, 2, {"b": "x,y:[{"}]}', 2, 5),
        (b'{"a\\"": "\\\\", "b": "\\\\\\""}', 2, 2),
        (b'[[[["", ""]]]]', 0, 5),
        (b'"a string, alone"', 0, 1),
    ],
)
async def test_values_are_counted_outside_of_strings(body: bytes, most_fields: int, most_values: int) -> None:
    """A text with brackets would be refused; or a pile of values hide in what looks like a text."""
    check_json(body, most_fields, most_values)
    for fields, values in ((most_fields - 1, most_values), (most_fields, most_values - 1)):
        if min(fields, values) >= 0 and body[:1] != b'"':
            with pytest.raises(PalaverError) as caught:
                check_json(body, fields, values)
            assert caught.value.kind is INVALID
    with pytest.raises(PalaverError) as caught:
        check_json(body.decode().encode("utf-16"), most_fields, most_values)
    assert caught.value.kind is MALFORMED
