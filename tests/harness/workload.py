"""A little of everything that operators see in numbers: what goes well, and what is refused."""

import asyncio
import json

from palaver.contracts.errors import OVERLOADED, SLOW_READER
from tests.harness.palaver_process import PalaverProcess
from tests.harness.raw_socket import CLOSE, TEXT, RawSocket, client_frame
from tests.harness.users import PASSWORD, ApiClient, ApiUser, api_client, v1_frame, v2_send
from tests.harness.waiting import WAIT_SECONDS

# Small enough to be overrun: each refusal is a series that the dashboard shows
ENVIRONMENT = {
    "PALAVER_AUTH__ARGON2_TIME_COST": "4",
    "PALAVER_AUTH__ARGON2_MEMORY_KIB": "16384",
    "PALAVER_AUTH__HASHING_THREADS": "1",
    "PALAVER_AUTH__HASHING_QUEUE": "2",
    "PALAVER_GATEWAY__FRAMES_IN_FLIGHT": "20",
    "PALAVER_GATEWAY__SOCKET_QUEUE_BYTES": "65536",
}
SIGN_INS_AT_ONCE = 40
FRAMES_AT_ONCE = 200
# More than the sockets' buffers of the kernel hold
LONG_TEXT = "x" * 16_000
LONG_TEXTS_A_REQUEST = 50
LONG_REQUESTS = 40


async def use_everything(running: PalaverProcess) -> None:
    """Every kind of request and frame, and every refusal that a client can provoke."""
    async with api_client(running) as api:
        alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
        chat_id = await alice.chat_with(bob)
        await alice.send(chat_id, "by REST")
        await bob.history(chat_id)
        await fail_to_sign_in(api, bob)
        await api.call("POST", "/v2/sessions/refresh", {"refresh_token": bob.refresh_token})
        await api.call("POST", "/v2/sessions/refresh", {"refresh_token": "none"})
        await bob.legacy("GET", f"/auth/user?email={alice.email}")
        await bob.legacy("GET", "/messenger/chats")
        assert (await alice.v2("GET", "/chats/00000000-0000-7000-8000-000000000000")).status == 404
        await talk(alice, bob, chat_id)
        await flood(running, alice, chat_id)
        await be_refused_an_upgrade(api)
        (await api.call("GET", "/healthz")).ok()
        await read_too_slowly(running, alice, await api.sign_up("Carol"))


async def fail_to_sign_in(api: ApiClient, user: ApiUser) -> None:
    """A wrong password, and more right ones at once than auth will hash."""
    wrong = {"email": user.email, "password": "wrong horse"}
    assert (await api.call("POST", "/v2/sessions", wrong)).status == 401
    right = {**wrong, "password": PASSWORD}
    answers = await asyncio.gather(
        *(api.call("POST", "/v2/sessions", right) for _ in range(SIGN_INS_AT_ONCE))
    )
    assert {answer.status for answer in answers} == {201, 503}


async def talk(alice: ApiUser, bob: ApiUser, chat_id: str) -> None:
    """Messages over sockets of both generations, frames that are refused, and a socket that comes back."""
    async with alice.socket_v1() as old, bob.socket_v2() as new:
        old.send(v1_frame(chat_id, "by v1"))
        seq = (await new.receive_type("message"))["seq"]
        sent = v2_send(chat_id, "by v2")
        new.send(sent)
        await new.receive_type("sent")
        new.send(sent)
        await new.receive_type("sent")
        new.send({"type": "nonsense"})
        await new.receive_type("error")
    async with bob.socket_v2() as again:
        again.send({"type": "resume", "cursors": {chat_id: seq - 1}})
        await again.receive_type("resumed")
    async with bob.socket_v1() as old:
        await alice.send(chat_id, "to v1")
        await old.receive_json()


async def flood(running: PalaverProcess, alice: ApiUser, chat_id: str) -> None:
    """More messages at once than the gateway lets be in flight."""
    socket = await open_raw(running, alice)
    sends = [json.dumps(v2_send(chat_id, str(number))) for number in range(FRAMES_AT_ONCE)]
    socket.write(*(client_frame(TEXT, send.encode()) for send in sends))
    while (frame := await asyncio.wait_for(socket.read(), WAIT_SECONDS)) is not None:
        if json.loads(frame.payload).get("code") == OVERLOADED.code:
            break
    assert frame is not None
    await socket.close()


async def be_refused_an_upgrade(api: ApiClient) -> None:
    """A socket without a token."""
    answer = await api.call("GET", "/v2/ws", headers={"connection": "upgrade", "upgrade": "websocket"})
    assert answer.status >= 400


async def read_too_slowly(running: PalaverProcess, alice: ApiUser, carol: ApiUser) -> None:
    """A socket that reads nothing until it is cut off."""
    chat_id = await alice.chat_with(carol)
    socket = await open_raw(running, carol)
    for _ in range(LONG_REQUESTS):
        await alice.send(chat_id, *[LONG_TEXT] * LONG_TEXTS_A_REQUEST)
    while (frame := await socket.read()) is not None and frame.opcode != CLOSE:
        pass
    assert frame is not None
    assert frame.close_code == SLOW_READER.close
    await socket.close()


async def open_raw(running: PalaverProcess, user: ApiUser) -> RawSocket:
    """A socket of v2, attached, that reads little by itself."""
    host, _, port = running.base_url.removeprefix("http://").partition(":")
    socket = await RawSocket.open(host, int(port), "/v2/ws", "Bearer " + user.token, limit=1024)
    hello = await asyncio.wait_for(socket.read(), WAIT_SECONDS)
    assert hello is not None
    assert b'"hello"' in hello.payload
    return socket


async def lose_the_messenger(running: PalaverProcess) -> None:
    """A call that is made again until the messenger is back, and a gateway that attaches again."""
    async with api_client(running) as api:
        alice = await api.sign_up("Alice")
        pid = running.kill("messenger")
        await alice.v2("GET", "/chats")
        await asyncio.to_thread(running.wait_restarted, "messenger", pid)
        while (await api.call("GET", "/readyz")).status != 200:  # noqa: ASYNC110 - the server is waited for
            await asyncio.sleep(0.02)
