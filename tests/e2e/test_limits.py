"""Each limit has its clear error, at the limit and not before."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from picows import WSInvalidStatusError

from tests.harness.http_client import HttpResponse
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.users import PASSWORD, ApiClient, ApiUser, api_client, profile_of, v1_frame, v2_send
from tests.harness.websocket_client import WebSocketClient

TEXT = 16_384
TEXT_BYTES = 65_536
MESSAGES = 100
FRAME = 262_144
BODY = 1_048_576
SMALL_BODY = 32_768
MEMBERS = 1_000
SOCKETS = 20
WRONG_PASSWORDS = 10
WRONG_PASSWORDS_OF_ADDRESS = 100
SIGN_UPS = 100
BURST = 500
EDITS = 100
# One character for a reader, seven code points and 26 bytes
FAMILY = "👩🏽‍🤝‍👩🏿"


@pytest.fixture(scope="module")
def strict_palaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """A Palaver with the rates that it has by itself."""
    trusted = {"PALAVER_GATEWAY__TRUSTED_PROXIES": "127.0.0.1"}
    with running_palaver(tmp_path_factory.mktemp("strict"), rates=True, env=trusted) as running:
        yield running


@pytest.fixture
async def strict_door(strict_palaver: PalaverProcess) -> AsyncIterator[ApiClient]:
    """The way in where rates are limited. Tests come from addresses of their own: see `come_from`."""
    async with api_client(strict_palaver) as found:
        yield found


async def pair(api: ApiClient) -> tuple[ApiUser, ApiUser, str]:
    """Bob, Alice, and their chat."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    return bob, alice, await bob.chat_with(alice)


def check_problem(answer: HttpResponse, status: int, code: str, field: str = "") -> None:
    """A v2 error that says which field is wrong."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert [wrong["field"] for wrong in answer.json.get("errors", [])] == ([field] if field else [])


def check_old_error(frame: str, word: str) -> None:
    """An error frame of v1 that says what is wrong."""
    error = json.loads(frame)
    assert error["action"] == "error"
    assert word in json.loads(error["payload"])["message"]


# ---- texts ----


@pytest.mark.parametrize("character", ["a", "й", FAMILY, "e\u0301"])
async def test_longest_text(api: ApiClient, character: str) -> None:
    """Long texts would be cut, or emoji counted as dozens of characters."""
    bob, alice, chat_id = await pair(api)
    # There are fewer of the large ones
    longest = character * min(TEXT, TEXT_BYTES // len(character.encode()))
    async with alice.socket_v2() as a, bob.socket_v2() as b:
        b.send(v2_send(chat_id, longest))
        assert (await a.receive_type("message"))["text"] == longest
        await bob.send(chat_id, longest)
        assert (await a.receive_type("message"))["text"] == longest


@pytest.mark.parametrize(
    ("longer", "bound"), [("a" * (TEXT + 1), "16,384"), ("e" + "\u0301" * (TEXT_BYTES // 2), "65,536")]
)
async def test_a_longer_text_is_refused(api: ApiClient, longer: str, bound: str) -> None:
    """A sender would not know why a text did not arrive."""
    bob, _, chat_id = await pair(api)
    path = f"/chats/{chat_id}/messages"
    check_problem(await bob.v2("POST", path, {"text": longer}), 422, "invalid", "text")
    two = {"messages": [{"text": "fine"}, {"text": longer}]}
    check_problem(await bob.v2("POST", path, two), 422, "invalid", "messages.1.text")
    await bob.send(chat_id, "first")
    check_problem(await bob.v2("PATCH", path + "/1", {"text": longer}), 422, "invalid", "text")
    async with bob.socket_v2() as wire, bob.socket_v1() as old:
        frame = v2_send(chat_id, longer)
        wire.send(frame)
        error = await wire.receive_type("error")
        assert (error["code"], error["field"]) == ("invalid", "text")
        old.send(v1_frame(chat_id, longer))
        check_old_error(await old.receive(), bound)
    assert len(await bob.history(chat_id)) == 1


@pytest.mark.parametrize("text", ["", "\0", "before\0behind"])
async def test_empty_text_and_nul_are_refused(api: ApiClient, text: str) -> None:
    """Empty bubbles would show, or texts end where they should not."""
    bob, _, chat_id = await pair(api)
    check_problem(await bob.v2("POST", f"/chats/{chat_id}/messages", {"text": text}), 422, "invalid", "text")
    async with bob.socket_v2() as wire, bob.socket_v1() as old:
        wire.send(v2_send(chat_id, text))
        error = await wire.receive_type("error")
        assert (error["code"], error["field"]) == ("invalid", "text")
        old.send(v1_frame(chat_id, text))
        check_old_error(await old.receive(), "text")


async def test_any_unicode_comes_back_as_it_was(api: ApiClient) -> None:
    """People would read other characters than were written."""
    bob, alice, chat_id = await pair(api)
    text = f'\u202eتجربة\u202c {FAMILY} e\u0301 \U0010ffff \ufeff\u2028 "\\ \x01\x7f\r\n\t <b>&amp;</b> ﷽ 𝄞'
    async with alice.socket_v2() as a, alice.socket_v1() as old, bob.socket_v2() as b:
        b.send(v2_send(chat_id, text))
        assert (await a.receive_type("message"))["text"] == text
        payload = json.loads(json.loads(await old.receive())["payload"])
        assert payload["messages"][0]["text"] == text
    assert [message["text"] for message in await alice.history(chat_id)] == [text]


@pytest.mark.parametrize("number", [1, MESSAGES])
async def test_messages_of_a_request(api: ApiClient, number: int) -> None:
    """Bots could not send many at once."""
    bob, _, chat_id = await pair(api)
    assert [m["seq"] for m in await bob.send(chat_id, *["text"] * number)] == list(range(1, number + 1))


@pytest.mark.parametrize("number", [0, MESSAGES + 1])
async def test_too_many_messages_of_a_request(api: ApiClient, number: int) -> None:
    """One request could hold up everybody's, or a part of it would be stored."""
    bob, _, chat_id = await pair(api)
    body = {"messages": [{"text": "text"}] * number}
    check_problem(await bob.v2("POST", f"/chats/{chat_id}/messages", body), 422, "invalid", "messages")
    async with bob.socket_v1() as old:
        old.send(v1_frame(chat_id, *["text"] * number))
        check_old_error(await old.receive(), "messages must be 1 to 100")
    assert await bob.history(chat_id) == []


# ---- bytes ----


async def test_bodies(api: ApiClient) -> None:
    """One upload could fill the memory, or a full request of texts would not fit."""
    bob, _, chat_id = await pair(api)
    path = f"/v2/chats/{chat_id}/messages"
    token = "Bearer " + bob.token

    def padded(size: int) -> bytes:
        body = json.dumps({"text": "fits"}).encode()
        return body + b" " * (size - len(body))

    assert (await api.call("POST", path, token=token, data=padded(BODY))).status == 201
    check_problem(await api.call("POST", path, token=token, data=padded(BODY + 1)), 413, "too_large")
    old = await api.call("POST", "/auth/sign-in", data=padded(SMALL_BODY + 1))
    assert (old.status, list(old.json), old.json["code"]) == (413, ["code", "message"], 0)
    for open_path in ("/v2/sessions", "/v2/sessions/refresh", "/v2/users"):
        check_problem(await api.call("POST", open_path, data=padded(SMALL_BODY + 1)), 413, "too_large")
    check_problem(await api.call("POST", path, data=padded(SMALL_BODY + 1)), 401, "unauthenticated")
    assert len(await bob.history(chat_id)) == 1


async def test_others_do_not_decide_how_large_a_list_is(api: ApiClient) -> None:
    """Whoever is written to by somebody with long texts could not see their chats any more."""
    bob, alice, _ = await pair(api)
    text = "e" + "\u0301" * (TEXT_BYTES // 2 - 1)
    for number in range(32):
        group = {"title": ("t" + "\u0301" * 511), "member_ids": [alice.user_id]}
        chat = (await bob.v2("POST", "/chats", group)).ok(201)
        await bob.send(chat["id"], *[text] * (1 + number % 2))
    listed = await alice.v2("GET", "/chats?limit=200")
    chats = listed.ok()["chats"]
    assert len(chats) == 33
    assert len(listed.body) < 33 * 5_000
    shown = chats[0]["last_message"]
    assert (shown["text_cut"], text.startswith(shown["text"]), chats[0]["member_count"]) == (True, True, 2)
    old = await alice.legacy("GET", "/messenger/chats?limit=1000")
    assert (old.ok()["total"], len(old.json["chats"])) == (33, 33)
    assert len(old.body) < 33 * 1_000


async def test_an_old_client_pages_through_long_texts(api: ApiClient) -> None:
    """Whoever goes on at offset + limit would miss the messages that a page had no room for."""
    bob, alice, chat_id = await pair(api)
    for _ in range(3):
        await bob.send(chat_id, *["\N{FIRE}" * TEXT] * 12)
    ids: list[str] = []
    offset, total = 0, 1
    while offset < total:
        page = (
            await alice.legacy("GET", f"/messenger/messages?chat_id={chat_id}&limit=1000&offset={offset}")
        ).ok()
        ids += [message["id"] for message in page["messages"]]
        offset, total = page["offset"] + page["limit"], page["total"]
    assert len(set(ids)) == len(ids) == 36


async def test_frames(api: ApiClient) -> None:
    """One frame could fill the memory, and whoever sent it would not know why the socket closed."""
    bob, _, chat_id = await pair(api)

    def padded(size: int) -> str:
        frame = json.dumps(v2_send(chat_id, "fits"))
        return frame + " " * (size - len(frame))

    async with bob.socket_v2() as wire:
        wire.send(padded(FRAME))
        await wire.receive_type("sent")
        wire.send(padded(FRAME + 1))
        assert await wire.receive_close() == 1009
    async with bob.socket_v1() as old:
        old.send(v1_frame(chat_id, "fits") + " " * FRAME)
        assert await old.receive_close() == 1009
    assert len(await bob.history(chat_id)) == 1


# ---- numbers ----


async def test_members_of_a_group(api: ApiClient) -> None:
    """A group of everybody would hold up every message in it."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    ids = [str(uuid.uuid4()) for _ in range(MEMBERS)]
    too_many = {"title": "All", "member_ids": ids}
    check_problem(await bob.v2("POST", "/chats", too_many), 422, "invalid", "member_ids")
    # Below the limit it is looked up who they are
    unknown = {"title": "All", "member_ids": ids[1:]}
    refused = await bob.v2("POST", "/chats", unknown)
    check_problem(refused, 422, "invalid", "member_ids")
    assert "there is no user" in refused.json["detail"]
    group = {"title": "Two", "member_ids": [alice.user_id]}
    chat_id = (await bob.v2("POST", "/chats", group)).ok(201)["id"]
    ids.append(str(uuid.uuid4()))
    refused = await bob.v2("POST", f"/chats/{chat_id}/members", {"user_ids": ids})
    check_problem(refused, 422, "invalid", "user_ids")


async def test_sockets_of_a_user(api: ApiClient) -> None:
    """One user could take all sockets, or an app that leaks them would not be told."""
    bob, other = await api.sign_up("Bob"), await api.sign_up("Other")
    open_sockets: list[WebSocketClient] = []
    try:
        for number in range(SOCKETS):
            path = f"/v2/ws?token={bob.token}" if number % 2 else f"/messenger/ws?token={bob.token}"
            open_sockets.append(await WebSocketClient.connect(api.ws_url + path))
        for path in ("/v2/ws", "/messenger/ws"):
            with pytest.raises(WSInvalidStatusError) as refused:
                await WebSocketClient.connect(f"{api.ws_url}{path}?token={bob.token}")
            assert refused.value.response.status == 429
            assert int(refused.value.response.headers["retry-after"]) >= 1
        async with other.socket_v2():
            await open_sockets.pop().close()
        async with bob.socket_v2():
            pass
    finally:
        for socket in open_sockets:
            await socket.close()


# ---- rates ----


def come_from(address: str) -> dict[str, str]:
    """Headers of a request that a trusted proxy passes on for `address`."""
    return {"x-forwarded-for": address}


def check_rate_limited(answer: HttpResponse, least: int = 1) -> None:
    """429, with the seconds to wait."""
    assert answer.status == 429, answer.body
    assert least <= int(answer.headers["retry-after"]) <= 60
    assert "too many" in (answer.json.get("detail") or answer.json["message"]).lower()


async def until_refused(ask: Callable[[], Awaitable[HttpResponse]], refilled_a_second: float) -> HttpResponse:
    """The first 429. A slow machine grants a few more before it, which its budget got back meanwhile."""
    began, granted = time.monotonic(), 0
    while (answer := await ask()).status != 429:
        granted += 1
        assert granted <= 5 + refilled_a_second * (time.monotonic() - began), answer.body
    return answer


async def sign_up_from(api: ApiClient, address: str) -> str:
    """A new user's email."""
    email = f"{uuid.uuid4().hex}@example.org"
    account = {**profile_of("Bob", "Tallor"), "email": email, "password": PASSWORD}
    (await api.call("POST", "/v2/users", account, headers=come_from(address))).ok(201)
    return email


async def guess(
    api: ApiClient, email: str, address: str, password: str = "wrong", *, old: bool = False
) -> HttpResponse:
    """A sign-in."""
    path = "/auth/sign-in" if old else "/v2/sessions"
    pair = {"email": email, "password": password}
    return await api.call("POST", path, pair, headers=come_from(address))


async def test_wrong_passwords_of_an_account_from_an_address(strict_door: ApiClient) -> None:
    """Anybody could try passwords until one fits; or a stranger could lock people out of their accounts."""
    api = strict_door
    email = await sign_up_from(api, "203.0.113.1")
    spared = await sign_up_from(api, "203.0.113.1")
    for number in range(WRONG_PASSWORDS):
        assert (await guess(api, email, "203.0.113.30", old=bool(number % 2))).status == 401
    check_rate_limited(await guess(api, email.upper(), "203.0.113.30"))
    check_rate_limited(await guess(api, email, "203.0.113.30", old=True))
    # Even the right one, or an attacker would learn which one it is
    check_rate_limited(await guess(api, email, "203.0.113.30", PASSWORD))
    assert (await guess(api, spared, "203.0.113.30", PASSWORD)).status == 201
    for number in range(30):
        await guess(api, email, "203.0.113.30")
        answer = await guess(api, email, f"203.0.113.{40 + number}", PASSWORD, old=bool(number % 2))
        assert answer.status in (200, 201)


async def test_attack_from_many_addresses_keeps_nobody_out(strict_door: ApiClient) -> None:
    """Who rents a crowd of machines could lock an account's owner out, or guess at full speed."""
    api = strict_door
    email = await sign_up_from(api, "203.0.113.3")
    assert (await guess(api, email, "203.0.113.3", PASSWORD)).status == 201
    attacking = [
        asyncio.create_task(attack(api, email, [f"2001:db8:{run:x}:{n:x}::1" for n in range(40)]))
        for run in range(1, 6)
    ]
    try:
        async with asyncio.timeout(60):
            while await slowed(api, email) < 1:
                pass
        for old in (False, True):
            assert (await guess(api, email, "203.0.113.3", PASSWORD, old=old)).status in (200, 201)
        began = time.monotonic()
        while (answer := await guess(api, email, "203.0.113.99", PASSWORD)).status == 429:
            assert time.monotonic() - began < 30, "the owner is locked out"
            await asyncio.sleep(int(answer.headers["retry-after"]))
        assert answer.status == 201
        # A guesser's address has one try a minute
        assert (await guess(api, email, "203.0.113.98")).status in (401, 429)
        check_rate_limited(await guess(api, email, "203.0.113.98"))
    finally:
        for task in attacking:
            task.cancel()
        await asyncio.gather(*attacking, return_exceptions=True)


async def attack(api: ApiClient, email: str, addresses: list[str]) -> None:
    """Guesses from one address after the other, until cancelled."""
    while True:
        for address in addresses:
            await guess(api, email, address)


async def slowed(api: ApiClient, email: str) -> float:
    """How many seconds a stranger's guess takes."""
    began = time.monotonic()
    await guess(api, email, f"2001:db8:ffff:{uuid.uuid4().hex[:4]}::1")
    return time.monotonic() - began


async def test_wrong_passwords_of_an_address(strict_door: ApiClient) -> None:
    """One machine could try the commonest password on every account."""
    api = strict_door
    email = await sign_up_from(api, "203.0.113.2")
    answers = await asyncio.gather(
        *(
            guess(api, f"{uuid.uuid4().hex}@example.org", "198.51.100.1")
            for _ in range(WRONG_PASSWORDS_OF_ADDRESS)
        )
    )
    assert {answer.status for answer in answers} == {401}
    a_second = WRONG_PASSWORDS_OF_ADDRESS / 60
    check_rate_limited(
        await until_refused(lambda: guess(api, f"{uuid.uuid4().hex}@example.org", "198.51.100.1"), a_second)
    )
    assert (await guess(api, email, "198.51.100.2", PASSWORD)).status == 201


async def test_sign_ups_of_an_address(strict_door: ApiClient) -> None:
    """One machine could fill the database with accounts."""
    api = strict_door
    granted, began = 0, time.monotonic()

    async def sign_up() -> HttpResponse:
        account = {
            **profile_of("Bob", "Tallor"),
            "password": PASSWORD,
            "email": f"{uuid.uuid4().hex}@example.org",
        }
        return await api.call("POST", "/v2/users", account, headers=come_from("198.51.100.3"))

    while (answer := await sign_up()).status == 201:
        granted += 1
    check_rate_limited(answer)
    # The budget fills meanwhile
    assert SIGN_UPS <= granted <= SIGN_UPS * (1 + (time.monotonic() - began) / 60) + 1
    await sign_up_from(api, "198.51.100.4")


async def test_messages_of_a_user(strict_door: ApiClient) -> None:
    """One bot could hold up everybody's messages, or a person who pastes a page would be cut off."""
    bob, alice, chat_id = await pair(strict_door)
    path = f"/chats/{chat_id}/messages"
    full = {"messages": [{"text": "text"}] * MESSAGES}
    async with bob.socket_v2() as wire, bob.socket_v1() as old:
        for _ in range(BURST // MESSAGES):
            assert (await bob.v2("POST", path, full)).status == 201
        # One more fits after a second
        check_rate_limited(await until_refused(lambda: bob.v2("POST", path, full), 1.0))
        await flood(wire, chat_id)
        error = await wire.receive_type("error")
        assert (error["code"], error["chat_id"]) == ("rate_limited", chat_id)
        assert 0 < error["retry_after"] <= 1
        for _ in range(BURST):
            old.send(v1_frame(chat_id, "text"))
        # It hears what the other socket sent, too
        await old.receive_matching(
            lambda frame: frame["action"] == "error" and "too many" in frame["payload"]
        )
        # The other one is not held up
        await alice.send(chat_id, "mine")
        await asyncio.sleep(error["retry_after"] + 0.5)
        wire.send(v2_send(chat_id, "back again"))
        await wire.receive_matching(lambda frame: frame["type"] == "sent")
    assert await bob.history(chat_id)


async def flood(wire: WebSocketClient, chat_id: str) -> None:
    """Sends far more than what may be sent."""
    for _ in range(BURST):
        wire.send(v2_send(chat_id, "text"))


async def test_a_refused_message_was_not_stored(strict_door: ApiClient) -> None:
    """A client that comes back after the wait, as it was told, would send twice."""
    bob, _, chat_id = await pair(strict_door)
    frames = [v2_send(chat_id, str(number)) for number in range(BURST + 200)]
    sent, refused = set(), set()
    async with bob.socket_v2() as wire:
        for frame in frames:
            wire.send(frame)
        while len(sent) + len(refused) < len(frames):
            frame = await wire.receive_matching(lambda frame: frame["type"] in ("sent", "error"))
            (sent if frame["type"] == "sent" else refused).add(frame["client_id"])
    assert len(sent) >= BURST
    assert refused
    assert {message["client_id"] for message in await bob.history(chat_id)} == sent


async def test_edits_of_one_user_are_refused_with_the_time_to_wait(strict_door: ApiClient) -> None:
    """A bot that edits without end would not know when to go on, and others would wait for it."""
    bob, alice, chat_id = await pair(strict_door)
    await bob.send(chat_id, "first")
    await alice.send(chat_id, "hers")
    path = f"/chats/{chat_id}/messages"
    for number in range(EDITS * 3):
        answer = await bob.v2("PATCH", f"{path}/1", {"text": f"{number}"})
        if answer.status != 200:
            break
    assert number >= EDITS
    check_problem(answer, 429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    check_problem(await bob.v2("DELETE", f"{path}/1"), 429, "rate_limited")
    (await alice.v2("PATCH", f"{path}/2", {"text": "hers too"})).ok()
    await bob.send(chat_id, "sends are not edits")
