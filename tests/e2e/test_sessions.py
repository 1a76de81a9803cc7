"""Sessions, their tokens and their sockets, through revocations, key rotations and restarts."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import jwt
import pytest

from tests.harness.http_client import HttpResponse
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.users import ApiClient, ApiUser, api_client, v1_frame, v2_send
from tests.harness.waiting import wait_until
from tests.harness.websocket_client import WebSocketClient

REVOKED_SECONDS = 2.0
REPEAT_SECONDS = 10.0
REVOKED = 4001
RESTARTING = 1012
SESSIONS = 100
PEOPLE = 25
SOCKETS_EACH = 20
MESSAGES = 40


async def refresh(api: ApiClient, token: str) -> HttpResponse:
    """Changes a refresh token for a new pair."""
    return await api.call("POST", "/v2/sessions/refresh", {"refresh_token": token})


async def check_ended(user: ApiUser) -> None:
    """REST and upgrades refuse a session's access token within the time allowed."""
    async with asyncio.timeout(REVOKED_SECONDS):
        while (answer := await user.v2("GET", "/users/me")).status == 200:  # noqa: ASYNC110 - the server is waited for
            await asyncio.sleep(0.02)
    assert answer.status == 401
    assert answer.json["code"] == "session_revoked"
    assert (await user.legacy("GET", "/messenger/chats")).status == 401
    assert (await refresh(user.api, user.refresh_token)).status == 401


# ---- the end of a session ----


@pytest.mark.parametrize("path", ["current", "ID"])
async def test_an_ended_session_loses_its_sockets(api: ApiClient, path: str) -> None:
    """Whoever holds a stolen phone would go on reading after it was signed out."""
    bob = await api.sign_up()
    other = await api.sign_in(bob.email)
    async with bob.socket_v1() as old, bob.socket_v2() as new, other.socket_v2() as spared:
        asker = bob if path == "current" else other
        began = time.monotonic()
        (await asker.v2("DELETE", f"/sessions/{path.replace('ID', bob.session_id)}")).ok(204)
        codes = await asyncio.gather(old.receive_close(5), new.receive_close(5))
        assert time.monotonic() - began <= REVOKED_SECONDS
        assert codes == [REVOKED, REVOKED]
        await check_ended(bob)
        spared.send({"type": "ping", "id": "1"})
        await spared.receive_type("pong")
    assert (await other.v2("GET", "/users/me")).status == 200


async def test_a_session_that_time_ends_loses_its_sockets(
    shared_palaver: PalaverProcess, api: ApiClient
) -> None:
    """A device that was left in a drawer with its connection open would go on receiving for ever."""
    bob = await api.sign_up()
    other = await api.sign_in(bob.email)
    async with bob.socket_v1() as old, bob.socket_v2() as new, other.socket_v2() as spared:
        database = sqlite3.connect(shared_palaver.data_dir / "auth.db", isolation_level=None, timeout=10)
        with contextlib.closing(database):
            past = int(time.time() - 1) * 1_000_000
            database.execute(
                "UPDATE sessions SET expires_at = ? WHERE id = ?", [past, UUID(bob.session_id).bytes]
            )
        codes = await asyncio.gather(old.receive_close(5), new.receive_close(5))
        assert codes == [REVOKED, REVOKED]
        await check_ended(bob)
        spared.send({"type": "ping", "id": "1"})
        await spared.receive_type("pong")


async def test_the_oldest_session_makes_room(api: ApiClient) -> None:
    """A bot that signs in at each start would have thousands of sessions; or their sockets would live on."""
    bob = await api.sign_up()
    async with bob.socket_v2() as wire:
        for _ in range(SESSIONS - 1):
            last = await api.sign_in(bob.email)
        wire.send({"type": "ping", "id": "1"})
        await wire.receive_type("pong")
        await api.sign_in(bob.email)
        assert await wire.receive_close(5) == REVOKED
    await check_ended(bob)
    assert len((await last.v2("GET", "/sessions")).ok()["sessions"]) == SESSIONS


async def test_another_ones_session_cannot_be_ended(api: ApiClient) -> None:
    """Anybody could sign anybody out."""
    bob, eve = await api.sign_up("Bob"), await api.sign_up("Eve")
    assert (await eve.v2("DELETE", f"/sessions/{bob.session_id}")).status == 404
    assert (await bob.v2("GET", "/users/me")).status == 200


async def test_sessions_are_listed(api: ApiClient) -> None:
    """People could not see which devices they are signed in on."""
    bob = await api.sign_up()
    other = await api.sign_in(bob.email)
    listed = (await other.v2("GET", "/sessions")).ok()["sessions"]
    assert [(s["id"], s["current"]) for s in listed] == [(other.session_id, True), (bob.session_id, False)]


# ---- refreshing ----


async def test_tokens_rotate(api: ApiClient) -> None:
    """A refresh token that was seen once, in a backup or a log, would be good for ever."""
    bob = await api.sign_up()
    fresh = (await refresh(api, bob.refresh_token)).ok()
    assert (fresh["user_id"], fresh["session_id"]) == (bob.user_id, bob.session_id)
    assert fresh["refresh_token"] != bob.refresh_token
    bob.token, bob.refresh_token = fresh["access_token"], fresh["refresh_token"]
    assert (await bob.v2("GET", "/users/me")).status == 200
    assert (await refresh(api, bob.refresh_token)).status == 200


async def refresh_as(generation: str, api: ApiClient, token: str) -> HttpResponse:
    """The same by the generation's own path."""
    if generation == "v2":
        return await refresh(api, token)
    return await api.call("PUT", "/auth/token", {"refresh_token": token})


@pytest.mark.parametrize("generation", ["v1", "v2"])
async def test_a_used_token_ends_its_session(api: ApiClient, generation: str) -> None:
    """A thief and the owner would share the session without anybody noticing."""
    bob = await api.sign_up()
    stolen = bob.refresh_token
    for _ in range(2):
        bob.refresh_token = (await refresh(api, bob.refresh_token)).ok()["refresh_token"]
    async with bob.socket_v2() as wire:
        assert (await refresh_as(generation, api, stolen)).status == 401
        assert await wire.receive_close(REVOKED_SECONDS) == REVOKED
    await check_ended(bob)


@pytest.mark.parametrize("generation", ["v1", "v2"])
async def test_a_token_that_is_used_late_ends_its_session(api: ApiClient, generation: str) -> None:
    """A token that leaked into a backup would be good beside the owner's."""
    bob = await api.sign_up()
    stolen = bob.refresh_token
    bob.refresh_token = (await refresh(api, stolen)).ok()["refresh_token"]
    async with bob.socket_v2() as wire:
        await asyncio.sleep(REPEAT_SECONDS + 0.5)
        assert (await refresh_as(generation, api, stolen)).status == 401
        assert await wire.receive_close(REVOKED_SECONDS) == REVOKED
    await check_ended(bob)


@pytest.mark.parametrize("generation", ["v1", "v2"])
async def test_repeated_refreshes_give_one_pair(api: ApiClient, generation: str) -> None:
    """Two tabs at once, or a phone that lost the answer, would sign their user out everywhere in the app."""
    bob = await api.sign_up()
    async with bob.socket_v2() as wire:
        answers = await asyncio.gather(
            *(refresh_as(generation, api, bob.refresh_token) for _ in range(5)),
        )
        answers.append(await refresh_as(generation, api, bob.refresh_token))
        assert all(answer.ok() == answers[0].ok() for answer in answers)
        pair = answers[0].json
        assert pair["refresh_token"] != bob.refresh_token
        bob.token = pair["access_token"]
        assert (await bob.v2("GET", "/users/me")).status == 200
        wire.send({"type": "ping", "id": "1"})
        await wire.receive_type("pong")
    assert (await refresh_as(generation, api, pair["refresh_token"])).status == 200


# ---- keys ----


def rotate_keys(running: PalaverProcess) -> str:
    """Runs `palaver keys rotate` beside the running Palaver. Returns the new key's id."""
    done = subprocess.run(
        [sys.executable, "-m", "palaver", "keys", "rotate"],
        env={**os.environ, "PALAVER_DATA_DIR": str(running.data_dir)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.split()[-1].rstrip(".")


def key_of(user: ApiUser) -> str:
    """The id of the key that signed a person's access token."""
    return str(jwt.get_unverified_header(user.token)["kid"])


async def test_keys_rotate_while_running(shared_palaver: PalaverProcess, api: ApiClient) -> None:
    """Changing a key, after a leak or by the calendar, would sign everybody out or need a restart."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat_id = await bob.chat_with(alice)
    async with alice.socket_v2() as wire:
        key = await asyncio.to_thread(rotate_keys, shared_palaver)
        assert key != key_of(bob)
        async with asyncio.timeout(10):
            while key_of(fresh := await api.sign_in(bob.email)) != key:  # noqa: ASYNC110 - auth is waited for
                await asyncio.sleep(0.1)
        # Both keys' tokens do for REST, for the messenger, and for new sockets
        for user in (bob, fresh):
            await user.send(chat_id, "Hello")
            assert (await wire.receive_type("message"))["text"] == "Hello"
            async with user.socket_v1() as old, user.socket_v2() as new:
                old.send(v1_frame(chat_id, "old"))
                assert (await wire.receive_type("message"))["text"] == "old"
                new.send(v2_send(chat_id, "new"))
                assert (await wire.receive_type("message"))["text"] == "new"
        assert (await refresh(api, bob.refresh_token)).status == 200


# ---- restarts ----


@contextlib.asynccontextmanager
async def own_api(running: PalaverProcess) -> AsyncIterator[ApiClient]:
    """The way into a Palaver of the test's own."""
    async with api_client(running) as found:
        yield found


async def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    """An update of the server would cost accounts, sessions, chats or messages."""
    with running_palaver(tmp_path) as running:
        async with own_api(running) as api:
            bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
            chat_id = await bob.chat_with(alice)
            await bob.send(chat_id, "one", "two")
            await alice.v2("PUT", f"/chats/{chat_id}/receipt", {"read_seq": 1})
            before = [
                (await bob.v2("GET", path)).body
                for path in ("/users/me", "/sessions", f"/chats/{chat_id}/messages")
            ]
            chats = (await bob.v2("GET", "/chats")).ok()
    with running_palaver(tmp_path) as running:
        async with own_api(running) as api:
            bob.api = alice.api = api
            after = [
                (await bob.v2("GET", path)).body
                for path in ("/users/me", "/sessions", f"/chats/{chat_id}/messages")
            ]
            assert after == before
            assert strip_presence((await bob.v2("GET", "/chats")).ok()) == strip_presence(chats)
            assert [m["seq"] for m in await bob.send(chat_id, "three")] == [3]
            assert (await refresh(api, alice.refresh_token)).status == 200


def strip_presence(page: dict[str, list[dict[str, list[dict[str, object]]]]]) -> object:
    """A page of chats without who is online: that is not data to keep."""
    for chat in page["chats"]:
        for member in chat["members"]:
            member.pop("online")
            member.pop("last_seen_at")
    return page


async def test_ctrl_c_answers_what_was_sent_and_says_come_back(tmp_path: Path) -> None:
    """At every update messages in flight would be in doubt, and clients take the cut for an error."""
    with running_palaver(tmp_path) as running:
        async with own_api(running) as api:
            bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
            chat_id = await bob.chat_with(alice)
            async with bob.socket_v2() as b, alice.socket_v1() as a:
                sent = [v2_send(chat_id, f"text {number}") for number in range(100)]
                for frame in sent:
                    b.send(frame)
                # Whatever the gateway has heard by then must be acked before the close
                await b.receive_type("sent")
                running.process.send_signal(signal.SIGINT)
                acked, code = await drain(b)
                assert code == RESTARTING
                assert await a.receive_close(10) == RESTARTING
        wait_until(lambda: running.process.poll() == 0, "a clean end")
    with running_palaver(tmp_path) as running:
        async with own_api(running) as api:
            bob.api = api
            stored = [message["client_id"] for message in await bob.history(chat_id)]
    assert stored == [frame["client_id"] for frame in sent][: len(stored)]
    assert acked + 1 == len(stored)


async def drain(wire: WebSocketClient) -> tuple[int, int]:
    """Counts `sent` frames up to the close, and gives its code."""
    count = 0
    async with asyncio.timeout(10):
        while (frame := await wire.next_frame()) is not None:
            count += json.loads(frame)["type"] == "sent"
    return count, wire.closed or 0


@pytest.mark.parametrize("service", ["messenger", "auth"])
async def test_a_restart_behind_the_gateway_drops_no_socket(tmp_path: Path, service: str) -> None:
    """Each update of a service would throw everybody out, and bring all back in the same second."""
    with running_palaver(tmp_path) as running:
        async with own_api(running) as api, contextlib.AsyncExitStack() as stack:
            alice, *others = [await api.sign_up() for _ in range(1 + PEOPLE)]
            body = {"title": "All", "member_ids": [user.user_id for user in others]}
            chat_id = (await alice.v2("POST", "/chats", body)).ok(201)["id"]
            old, new = [], []
            for user in others:
                for _ in range(SOCKETS_EACH // 2):
                    old.append(await stack.enter_async_context(user.socket_v1()))
                    new.append(await stack.enter_async_context(user.socket_v2()))
            sender = await stack.enter_async_context(alice.socket_v2())
            texts = [f"text {number}" for number in range(MESSAGES)]
            victim = await send_around_kill(running, service, sender, chat_id, texts)
            await asyncio.to_thread(running.wait_restarted, service, victim)
            expected = [v1_frame(chat_id, text) for text in texts]
            for wire in old:
                assert [await wire.receive() for _ in texts] == expected
            for wire in new:
                assert [(await wire.receive_type("message"))["seq"] for _ in texts] == list(
                    range(1, MESSAGES + 1)
                )
            assert not [wire for wire in (*old, *new, sender) if wire.closed is not None]
            assert (await others[0].v2("GET", "/users/me")).status == 200


async def send_around_kill(
    running: PalaverProcess, service: str, sender: WebSocketClient, chat_id: str, texts: list[str]
) -> int:
    """Sends texts, kills a service among them, and checks the acknowledgements. Returns the victim's id."""
    frames = [v2_send(chat_id, text) for text in texts]
    for frame in frames[: MESSAGES // 2]:
        sender.send(frame)
    victim = running.kill(service)
    for frame in frames[MESSAGES // 2 :]:
        sender.send(frame)
    acks = [await sender.receive_type("sent") for _ in frames]
    places = {ack["client_id"]: ack["seq"] for ack in acks}
    assert [places.get(frame["client_id"]) for frame in frames] == list(range(1, MESSAGES + 1))
    return victim
