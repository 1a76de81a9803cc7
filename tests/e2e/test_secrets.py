"""Nothing that is secret is written down: marked secrets go through every door, and all that was written is
searched for them."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from picows import WSHandshakeError, WSMsgType

from tests.harness.http_client import HttpResponse
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.raw_socket import BINARY, CLOSE, PING, TEXT, RawSocket, client_frame
from tests.harness.users import ApiClient, ApiUser, api_client, profile_of, v1_frame, v2_send
from tests.harness.websocket_client import WebSocketClient

# All lines, all spans, all of them slow
EVERYTHING = {
    "PALAVER_TELEMETRY__LOG_LEVEL": "debug",
    "PALAVER_TELEMETRY__SAMPLE_RATIO": "1",
    "PALAVER_TELEMETRY__SLOW_SECONDS": "0.000001",
}
MARK = "Pssst7"
_numbers = itertools.count(100_000)


class Secrets:
    """Every secret that was sent or answered, by what it is."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {}

    def new(self, what: str) -> str:
        """A fresh one."""
        secret = f"{MARK}{next(_numbers)}"
        self.all[secret] = what
        return secret

    def note_tokens(self, answer: Any) -> None:
        """Tokens that Palaver gave. Of an access token its signature: who has that has the token."""
        for name in ("access_token", "refresh_token"):
            token = answer.get(name)
            if token:
                self.all[token.rpartition(".")[2]] = name


@pytest.fixture(scope="module")
def palaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """One that writes down all that it can."""
    with running_palaver(tmp_path_factory.mktemp("palaver"), env=EVERYTHING) as running:
        yield running


@pytest.fixture
async def api(palaver: PalaverProcess) -> AsyncIterator[ApiClient]:
    """The way in."""
    async with api_client(palaver) as found:
        yield found


def found_in(directory: Path, secrets: dict[str, str]) -> dict[str, str]:
    """The secrets that any file but a database holds: secret -> what it is, and where."""
    found = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if ".db" in path.name:
            continue
        written = path.read_bytes()
        for secret, what in secrets.items():
            if secret.encode() in written:
                found[secret] = f"{what} in {path.name}"
    return found


async def user(api: ApiClient, secrets: Secrets, name: str) -> ApiUser:
    """A user whose password and tokens are noted."""
    password = secrets.new("password")
    account = {**profile_of(name, "Secret"), "email": f"{name}@example.org", "password": password}
    (await api.call("POST", "/v2/users", account)).ok(201)
    signed = (await api.call("POST", "/v2/sessions", {"email": account["email"], "password": password})).ok(
        201
    )
    secrets.note_tokens(signed)
    return ApiUser(
        api,
        account["email"],
        signed["user_id"],
        signed["session_id"],
        signed["access_token"],
        signed["refresh_token"],
        name,
    )


async def ask_all_operations(api: ApiClient, caller: ApiUser, chat_id: str, secrets: Secrets) -> int:
    """Calls every operation with bodies, queries and headers full of secrets. Returns how many there are."""
    paths = (await api.call("GET", "/openapi.json")).ok()["paths"]
    operations = [(path, method.upper()) for path, one in paths.items() for method in one]
    for path, method in operations:
        if (path, method) == ("/v2/sessions/current", "DELETE"):
            continue
        target = path.replace("{chat_id}", chat_id).replace("{seq}", "1").replace("{session_id}", chat_id)
        for body in bodies(secrets, chat_id):
            query = f"?token={secrets.new('token in a query')}&password={secrets.new('password in a query')}"
            token = caller.token if path.startswith("/v2") is False else "Bearer " + caller.token
            data = None if method in ("GET", "DELETE") else body
            await api.call(method, target + query, token=token, data=data)
            await api.call(method, target, token=secrets.new("bad token"), data=data)
    return len(operations)


def bodies(secrets: Secrets, chat_id: str) -> list[bytes]:
    """Right, wrong and broken bodies, whose every text is a secret."""
    fields = (
        f'"password": "{secrets.new("password")}", "refresh_token": "{secrets.new("refresh token")}", '
        f'"text": "{secrets.new("text")}", "email": "{secrets.new("email of nobody")}", '
        f'"messages": [{{"text": "{secrets.new("text")}"}}], "chat_id": "{chat_id}"'
    )
    text = secrets.new("text")
    return [
        f"{{{fields}}}".encode(),
        f'{{{fields}, "{secrets.new("field")}": "{secrets.new("text")}"}}'.encode(),
        f"{{{fields}".encode(),
        f'"{text}"'.encode(),
        f"{text}\xff".encode("latin-1"),
    ]


async def talk(alice: ApiUser, bob: ApiUser, chat_id: str, secrets: Secrets) -> None:
    """Messages and broken frames, over both generations' sockets and REST."""
    async with alice.socket_v1() as old, bob.socket_v2() as new:
        for frame in (
            v1_frame(chat_id, secrets.new("text"), secrets.new("text")),
            v1_frame(secrets.new("chat id"), secrets.new("text")),
            v1_frame(chat_id, secrets.new("text"))[:-9],
            secrets.new("text"),
        ):
            old.send(frame)
        await new.receive_type("message")
        for frame in (
            v2_send(chat_id, secrets.new("text")),
            v2_send(chat_id, secrets.new("text"), secrets.new("client id")),
            {**v2_send(chat_id, secrets.new("text")), secrets.new("field"): secrets.new("text")},
            {"type": secrets.new("type"), "text": secrets.new("text")},
            f'{{"type": "send", "text": "{secrets.new("text")}"',
            {"type": "resume", "cursors": {chat_id: 0}},
        ):
            new.send(frame)
        await new.receive_type("resumed")
    await alice.send(chat_id, secrets.new("text"))
    changed = {"text": secrets.new("text")}
    (await alice.v2("PATCH", f"/chats/{chat_id}/messages/1", changed)).ok()


async def send_bytes(user: ApiUser, chat_id: str, secrets: Secrets) -> None:
    """Frames that are no text at all, each on a socket of its own, because it ends it."""
    for path in ("/v2/ws", "/messenger/ws"):
        prefix = "Bearer " if path == "/v2/ws" else ""
        for opcode in (TEXT, BINARY, CLOSE, PING):
            send = json.dumps(v2_send(chat_id, "@")) if path == "/v2/ws" else v1_frame(chat_id, "@")
            before, _, after = send.partition("@")
            text = secrets.new("text in bytes").encode()
            content = before.encode() + text + b"\xff" + after.encode()
            if opcode in (CLOSE, PING):
                content = text + b"\xff\xfe"
            host, _, port = user.api.url.removeprefix("http://").partition(":")
            socket = await RawSocket.open(host, int(port), path, prefix + user.token)
            socket.write(
                client_frame(opcode, content + (after.encode() if opcode in (TEXT, BINARY) else b""))
            )
            socket.write(client_frame(CLOSE))
            while (await asyncio.wait_for(socket.read(), 10)) is not None:
                pass
            await socket.close()


async def knock(api: ApiClient, caller: ApiUser, secrets: Secrets) -> None:
    """Sockets that are refused, and one that is opened, by a token in the query."""
    for path in ("/messenger/ws", "/v2/ws", "/nowhere"):
        for token in (secrets.new("bad token"), caller.token[:-3] + "abc"):
            secrets.all[token.rpartition(".")[2]] = "bad token"
            with contextlib.suppress(WSHandshakeError):
                await WebSocketClient.connect(f"{api.ws_url}{path}?token={token}")
    socket = await WebSocketClient.connect(f"{api.ws_url}/v2/ws?token={caller.token}")
    # No WebSocket frame: the server's library logs an error
    socket.transport.underlying_transport.write(b"\xff\xff" + secrets.new("text").encode())
    await asyncio.sleep(0.1)
    await socket.close()


async def send_broken_frames(alice: ApiUser, secrets: Secrets) -> None:
    """Frames that are no text, no UTF-8 or no frame, each on a socket of its own, in both generations."""
    for opened in (alice.socket_v1, alice.socket_v2):
        for kind, before, after in (
            (WSMsgType.TEXT, b'{"type":"ping","id":"', b'\xff"}'),
            (WSMsgType.TEXT, b'\xff{"text":"', b'"}'),
            (WSMsgType.TEXT, b'{"topic":"messenger","action":"send-message","payload":"', b'\xed\xa0\x80"}'),
            (WSMsgType.TEXT, b'{"topic":"messenger","action":"send-message","payload":"\\ud800', b'"}'),
            (WSMsgType.BINARY, b"", b"\xff\xfe"),
            (WSMsgType.CLOSE, b"\x03\xe8", b"\xff"),
            (WSMsgType.PING, b"", b"\xff"),
            (WSMsgType.CONTINUATION, b"", b"\xff"),
        ):
            async with opened() as socket:
                socket.transport.send(kind, before + secrets.new("text").encode() + after)
                await asyncio.sleep(0.05)


async def test_no_password_token_or_text_is_written_down(palaver: PalaverProcess, api: ApiClient) -> None:
    """Whoever reads the logs, or is sent them, could sign in as a user, or read what they say."""
    secrets = Secrets()
    alice, bob = await user(api, secrets, "alice"), await user(api, secrets, "bob")
    chat_id = await alice.chat_with(bob)
    await talk(alice, bob, chat_id, secrets)
    await send_bytes(alice, chat_id, secrets)
    assert await ask_all_operations(api, alice, chat_id, secrets) > 30
    await knock(api, alice, secrets)
    await send_broken_frames(alice, secrets)
    renewed: HttpResponse = await api.call(
        "POST", "/v2/sessions/refresh", {"refresh_token": bob.refresh_token}
    )
    secrets.note_tokens(renewed.ok())
    # What happens when a part is away is written down too
    palaver.wait_restarted("messenger", palaver.kill("messenger"))
    palaver.wait_restarted("auth", palaver.kill("auth"))
    await alice.send(chat_id, secrets.new("text"))
    assert palaver.stop() == 0
    assert list((palaver.data_dir / "traces").iterdir()), "no spans to search"
    assert found_in(palaver.data_dir.parent, secrets.all) == {}


# Python runs it in every process that has its directory in PYTHONPATH: methods that get a secret fail, and
# say in their error what they failed at
RAISES = f"""
import functools, importlib.abc, importlib.machinery, sys

PLACES = {{
    "palaver.auth.sessions": ("Sessions", "_authenticate"),
    "palaver.gateway.upstream.stream": ("MessengerStream", "send"),
    "palaver.messenger.use_cases": ("UseCases", "send_messages"),
}}


def failing(method):
    @functools.wraps(method)
    def fail(*args, **kwargs):
        text = str([getattr(arg, "texts", arg) for arg in args]) + str(kwargs)
        if "{MARK}" in text:
            raise ValueError(text)
        return method(*args, **kwargs)

    return fail


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PLACES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            class_name, method = PLACES[name]
            found = getattr(module, class_name)
            setattr(found, method, failing(getattr(found, method)))

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


async def test_no_error_inside_a_service_brings_a_text_into_the_logs(tmp_path: Path) -> None:
    """Any mistake of ours would write down what people say, because errors carry what they failed at."""
    (tmp_path / "sitecustomize.py").write_text(RAISES)
    secrets = Secrets()
    with running_palaver(tmp_path, env={**EVERYTHING, "PYTHONPATH": str(tmp_path)}) as running:
        async with api_client(running) as api:
            alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
            chat_id = await alice.chat_with(bob)
            wrong = {"email": alice.email, "password": secrets.new("password")}
            assert (await api.call("POST", "/v2/sessions", wrong)).status == 500
            body = {"messages": [{"text": secrets.new("text")}]}
            assert (await alice.v2("POST", f"/chats/{chat_id}/messages", body)).status == 500
            async with alice.socket_v2() as socket:
                socket.send(v2_send(chat_id, secrets.new("text")))
                assert (await socket.receive_type("error"))["code"] == "internal"
        assert running.stop() == 0
    for service in ("auth", "gateway", "messenger"):
        assert "ValueError" in running.log(service), service
    assert found_in(running.data_dir, secrets.all) == {}


def test_a_secret_would_be_found(tmp_path: Path) -> None:
    """The search would find nothing wherever it looks."""
    secrets = Secrets()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "gateway.log").write_text(f'{{"event": "{secrets.new("text")}"}}')
    assert list(found_in(tmp_path, secrets.all).values()) == ["text in gateway.log"]
