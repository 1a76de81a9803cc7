"""The gateway as a service: ended sessions, restarts of what is behind it, its own stop."""

import asyncio
import sqlite3
import uuid
from pathlib import Path

import aiohttp
import pytest

from palaver.runtime.http.instrumentation import IN_PROGRESS
from tests.harness.http_client import HttpClient
from tests.harness.services import PalaverServices, running_services
from tests.harness.users import ApiClient, api_client

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_signed_out_session_is_out_within_2_seconds(api: ApiClient) -> None:
    """Whoever has a stolen device would go on reading and hearing."""
    bob = await api.sign_up("Bob")
    thief = await api.sign_in(bob.email)
    async with thief.socket_v2() as wire, asyncio.timeout(10):
        began = asyncio.get_running_loop().time()
        assert (await bob.v2("DELETE", f"/sessions/{thief.session_id}")).status == 204
        assert await wire.receive_close() == 4001
        while (await thief.v2("GET", "/chats")).status == 200:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - began < 2
    answer = await thief.v2("GET", "/chats")
    assert (answer.status, answer.json["code"]) == (401, "session_revoked")
    assert (await bob.v2("GET", "/chats")).status == 200


async def test_a_restarted_gateway_knows_who_is_out(services: PalaverServices, api: ApiClient) -> None:
    """A restart would let ended sessions in again for as long as their access tokens live."""
    bob = await api.sign_up("Bob")
    thief = await api.sign_in(bob.email)
    await bob.v2("DELETE", f"/sessions/{thief.session_id}")
    await services.gateway.stop()
    await services.gateway.start()
    assert (await thief.v2("GET", "/chats")).status == 401
    assert (await bob.v2("GET", "/chats")).status == 200


async def test_a_restart_of_the_messenger_is_only_a_pause(services: PalaverServices, api: ApiClient) -> None:
    """Everybody who reads or sends while the messenger restarts would get an error."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat_id = await bob.chat_with(alice)
    await services.messenger.stop()
    reading = asyncio.create_task(bob.v2("GET", f"/chats/{chat_id}/messages"))
    body = {"text": "hello", "client_id": str(uuid.uuid4())}
    sending = asyncio.create_task(bob.v2("POST", f"/chats/{chat_id}/messages", body))
    await services.messenger.start()
    assert (await reading).status == 200
    assert (await sending).status == 201
    assert len(await bob.history(chat_id)) == 1


async def test_without_auth_signed_in_people_go_on(services: PalaverServices, api: ApiClient) -> None:
    """A restart of auth would stop all talking, and sign everybody out."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat_id = await bob.chat_with(alice)
    await services.auth.stop()
    try:
        assert len(await bob.send(chat_id, "hello")) == 1
        away = await bob.v2("GET", "/users/me")
        assert (away.status, away.json["code"], away.headers["retry-after"]) == (503, "unavailable", "1")
        ready = await api.call("GET", "/readyz")
        assert ready.status == 503
        assert ready.json["parts"] == {"auth": False, "messenger": True}
        assert ready.json["failing"] == ["auth"]
    finally:
        await services.auth.start()
    assert (await bob.v2("GET", "/users/me")).status == 200
    assert (await api.call("GET", "/readyz")).ok() == {
        "ready": True,
        "parts": {"auth": True, "messenger": True},
        "failing": [],
    }


async def test_the_gateway_tells_what_is_lacking_behind_it(services: PalaverServices, api: ApiClient) -> None:
    """Whoever is woken up would have to ask each service by hand what is wrong."""
    other = sqlite3.connect(services.settings.data_dir / "messenger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ready = await api.call("GET", "/readyz")
    other.close()
    assert (ready.status, ready.json["failing"]) == (503, ["messenger: journal"])
    assert ready.json["parts"] == {"auth": True, "messenger": False}
    await services.messenger.stop()
    async with asyncio.timeout(10):
        while (await failing_of(api)) != ["messenger", "stream"]:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    await services.messenger.start()
    async with asyncio.timeout(10):
        while await failing_of(api):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


async def failing_of(api: ApiClient) -> list[str]:
    """What the gateway says is lacking."""
    return list((await api.call("GET", "/readyz")).json["failing"])


async def test_numbers_are_on_the_private_port_alone(tmp_path: Path) -> None:
    """Nobody could see that requests fail before users say so, or everybody could see how many there are."""
    async with running_services(tmp_path) as services, api_client(services) as api:
        bob = await api.sign_up("Bob")
        await bob.v2("GET", "/chats")
        for method in ("GET", "HEAD", "POST"):
            assert (await api.call(method, "/metrics")).status == 404
        private = f"http://127.0.0.1:{services.settings.gateway.private_port}"
        page = await HttpClient(api.http, private).request("GET", "/metrics")
        assert page.status == 200
        assert b'_total{generation="v2",method="GET",route="/v2/chats",status="200"}' in page.body
        assert (
            b'palaver_http_request_seconds_count{generation="v2",method="GET",route="/v2/chats"}' in page.body
        )


async def test_a_stop_answers_what_is_under_way_and_says_come_back(tmp_path: Path) -> None:
    """A restart of the gateway would cut requests in half, and clients would not know to come back."""
    async with running_services(tmp_path) as services, api_client(services) as api:
        bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
        chat_id = await bob.chat_with(alice)
        async with bob.socket_v2() as wire:
            await services.messenger.stop()
            # Waits for the messenger to come back
            under_way = asyncio.create_task(bob.v2("GET", f"/chats/{chat_id}"))
            async with asyncio.timeout(5):
                while not IN_PROGRESS._value.get():  # noqa: ASYNC110 - a number tells nobody when it changes
                    await asyncio.sleep(0.01)
            stopping = asyncio.create_task(services.gateway.stop())
            await services.messenger.start()
            assert (await under_way).status == 200
            assert await wire.receive_close() == 1012
            await stopping
        with pytest.raises(aiohttp.ClientConnectionError):
            await api.call("GET", "/healthz")
