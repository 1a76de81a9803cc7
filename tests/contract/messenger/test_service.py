"""The messenger's process: starting, health, errors and stopping."""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from sqlalchemy import text

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INTERNAL, UNAUTHENTICATED, UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.messenger.bootstrap import GRACE_SECONDS, migrate_database, serve
from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.settings import Settings
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.migrations import SchemaTooNewError, newest_version
from palaver.runtime.sql.sqlite import sqlite_engine
from palaver.runtime.startup import StartError
from tests.harness.fake_auth import FakeAuth, running_fake_auth
from tests.harness.inside import SECRETS, VARIABLES
from tests.harness.keys import Keys
from tests.harness.message_pages import messages_in
from tests.harness.messenger_service import Messenger, client_ids, open_channel, running_messenger
from tests.harness.processes import ChildProcess

REVOKED_SECONDS = 5.0


async def ask(messenger: Messenger, path: str) -> tuple[int, str]:
    """Status and body of a GET."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{messenger.http_port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def greet(messenger: Messenger) -> tuple[bytes, bytes]:
    """A chat with one message: (chat, its sender)."""
    alice, bob = messenger.auth.sign_up("Alice"), messenger.auth.sign_up("Bob")
    chat = await messenger.call(alice, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=bob))
    request = pb.SendMessagesRequest(chat_id=chat.id, client_ids=client_ids(1), texts=["very private"])
    await messenger.call(alice, "SendMessages", request)
    return chat.id, alice


def break_messages(directory: Path) -> None:
    """Makes reading and writing messages fail in a way that nobody thought of."""
    engine = sqlite_engine(directory / "messenger.db")
    with engine.connect() as connection, connection.begin():
        connection.execute(text("ALTER TABLE messages RENAME TO elsewhere"))
    engine.dispose()


async def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    """Without it an update of the messenger would lose chats and messages."""
    async with running_fake_auth() as auth:
        async with running_messenger(auth, tmp_path) as messenger:
            chat_id, alice = await greet(messenger)
        async with running_messenger(auth, tmp_path) as messenger:
            request = pb.ListMessagesRequest(chat_id=chat_id, limit=10)
            page = await messenger.call(alice, "ListMessages", request)
    assert [message.text for message in messages_in(page)] == ["very private"]


async def refusal_of(messenger: Messenger, user: bytes, method: str, request: Any) -> PalaverError | None:
    """The error that a call ends with, or None."""
    try:
        await messenger.call(user, method, request)
    except PalaverError as error:
        return error
    return None


async def test_a_revoked_key_is_refused_within_seconds(tmp_path: Path) -> None:
    """Whoever has a leaked key and reaches the messenger would read all chats until it is restarted."""
    async with running_fake_auth() as auth, running_messenger(auth, tmp_path) as messenger:
        chat_id, alice = await greet(messenger)
        auth.answers["GET /.well-known/jwks.json"] = {"keys": Keys().jwks["keys"], "revoked": []}
        wanted = pb.GetChatRequest(chat_id=chat_id)
        page = pb.ListMessagesRequest(chat_id=chat_id, limit=10)
        async with asyncio.timeout(REVOKED_SECONDS):
            for method, request in (("GetChat", wanted), ("ListMessages", page)):
                while (refused := await refusal_of(messenger, alice, method, request)) is None:  # noqa: ASYNC110 - the messenger is waited for
                    await asyncio.sleep(0.02)
                assert refused.kind is UNAUTHENTICATED


async def test_health_tells_what_is_lacking(tmp_path: Path) -> None:
    """Without it nobody would know which part keeps the messenger from serving."""
    async with running_fake_auth() as auth:
        auth.away = True
        async with running_messenger(auth, tmp_path) as messenger:
            assert await ask(messenger, "/healthz") == (200, '{"alive":true}')
            assert await ask(messenger, "/readyz") == (
                503,
                '{"ready":false,"failing":["auth"],"code":"unavailable","message":"failing: auth"}',
            )
            auth.away = False
            assert await ask(messenger, "/readyz") == (200, '{"ready":true,"failing":[]}')
            # An auth that restarts later must not take the messenger out of service
            auth.away = True
            assert await ask(messenger, "/readyz") == (200, '{"ready":true,"failing":[]}')


async def test_metrics_count_calls_and_refusals(tmp_path: Path) -> None:
    """Without it a slow or refusing messenger would be seen by its users alone."""
    async with running_fake_auth() as auth, running_messenger(auth, tmp_path) as messenger:
        await greet(messenger)
        await messenger.refusal(auth.sign_up("Eve"), "GetChat", pb.GetChatRequest(chat_id=bytes(16)))
        status, metrics = await ask(messenger, "/metrics")
    assert status == 200
    assert 'palaver_grpc_call_seconds_count{method="SendMessages"}' in metrics
    assert 'palaver_grpc_calls_total{code="ok",method="SendMessages"}' in metrics
    assert 'palaver_grpc_calls_total{code="not_found",method="GetChat"}' in metrics


@contextlib.asynccontextmanager
async def running_process(auth: FakeAuth, directory: Path) -> AsyncIterator[Messenger]:
    """Runs `palaver messenger` during the block, with its log in `directory/out`. It must exit with 0."""
    settings = {
        **VARIABLES,
        "PALAVER_DATA_DIR": str(directory),
        "PALAVER_MESSENGER__AUTH_URL": auth.url,
        "PALAVER_MESSENGER__HTTP_PORT": "0",
        "PALAVER_MESSENGER__GRPC_PORT": "0",
    }
    child = ChildProcess.start([sys.executable, "-m", "palaver", "messenger"], directory / "out", settings)
    try:
        listening = await asyncio.to_thread(child.wait_for, r'^.*"listening".*$')
        ports = json.loads(listening[0])
        async with open_channel(ports["grpc_port"]) as channel:
            yield Messenger(
                auth, Settings(data_dir=directory), ports["http_port"], ports["grpc_port"], channel
            )
    finally:
        assert await asyncio.to_thread(child.stop) == 0, child.output


def read_log(directory: Path) -> str:
    """All that the messenger's process has logged."""
    return (directory / "out").read_text()


async def test_an_unknown_error_tells_nothing(tmp_path: Path) -> None:
    """Without it a fault of ours would show its inside to clients, or messages to whoever reads logs."""
    async with running_fake_auth() as auth, running_process(auth, tmp_path) as messenger:
        chat_id, alice = await greet(messenger)
        break_messages(tmp_path)
        listing = pb.ListMessagesRequest(chat_id=chat_id, limit=10)
        editing = pb.EditMessageRequest(chat_id=chat_id, seq=1, text="more private")
        for method, request in (("ListMessages", listing), ("EditMessage", editing)):
            error = await messenger.refusal(alice, method, request)
            assert (error.kind, error.message) == (INTERNAL, INTERNAL.title)
        token = messenger.tokens[alice]
    logged = read_log(tmp_path)
    assert logged.count("no such table") >= 2
    assert "private" not in logged
    assert token not in logged


async def test_auth_away_is_not_a_bad_token(tmp_path: Path) -> None:
    """Without it a restart of auth would make clients throw good tokens away."""
    async with running_fake_auth() as auth:
        auth.away = True
        async with running_messenger(auth, tmp_path) as messenger:
            for _ in range(2):
                request = pb.ListChatsRequest(limit=1)
                assert (
                    await messenger.refusal(auth.sign_up("Alice"), "ListChats", request)
                ).kind is UNAVAILABLE


@pytest.mark.parametrize("taken", ["http_port", "grpc_port"])
async def test_a_taken_port_is_an_error(tmp_path: Path, taken: str) -> None:
    """Without it two messengers would share a port, and callers would reach either."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = {"http_port": 0, "grpc_port": 0, taken: other.getsockname()[1]}
        with pytest.raises(OSError, match="in use"):
            async with running_messenger(FakeAuth(url="http://127.0.0.1:9"), tmp_path, **ports):
                pass


async def test_a_second_messenger_does_not_take_the_port(tmp_path: Path) -> None:
    """Without it half of the calls would go to a messenger with another database."""
    async with running_fake_auth() as auth, running_messenger(auth, tmp_path / "one") as messenger:
        request = pb.ListChatsRequest(limit=1)
        await messenger.call(auth.sign_up("Alice"), "ListChats", request)
        with pytest.raises(OSError, match="in use"):
            async with running_messenger(auth, tmp_path / "two", grpc_port=messenger.grpc_port):
                pass


async def test_a_stopped_messenger_is_away(tmp_path: Path) -> None:
    """Without it callers would take a restart for a fault, and not come back."""
    async with running_fake_auth() as auth, running_messenger(auth, tmp_path) as messenger:
        port = messenger.grpc_port
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated without types
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListChats(pb.ListChatsRequest(limit=1), timeout=5)
    error = error_from_rpc(caught.value)
    assert isinstance(error, PalaverError)
    assert error.kind is UNAVAILABLE
    assert error.retry_after > 0


async def test_an_open_stream_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """Without it each restart would take as long as the longest wait for calls."""
    async with running_fake_auth() as auth, running_messenger(auth, tmp_path) as messenger:
        stub = MessengerStub(messenger.channel)  # type: ignore[no-untyped-call] # generated without types
        stream = stub.Attach()
        opening = pb.SocketOpen(socket=1, token=auth.token(auth.sign_up("Alice")))
        hello = pb.AttachHello(gateway_id="test")
        await stream.write(pb.GatewayBatch(hello=hello, opens=[opening]))
        assert (await stream.read()).opened
        began = asyncio.get_running_loop().time()
        assert messenger.service is not None
        await messenger.service.stop()
        took = asyncio.get_running_loop().time() - began
        assert took < GRACE_SECONDS / 2


def test_migrating_says_whether_it_changed_anything(tmp_path: Path) -> None:
    """Without it an operator could not tell an update of the schema from none."""
    settings = Settings(data_dir=tmp_path)
    assert migrate_database(settings) is True
    assert migrate_database(settings) is False


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """Without it an older messenger would write into a database that it does not understand."""
    own = MessengerSettings(http_port=0, grpc_port=0)
    settings = Settings(data_dir=tmp_path, secret=SECRETS, messenger=own)
    await asyncio.to_thread(migrate_database, settings)
    engine = sqlite_engine(tmp_path / "messenger.db")
    with engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert newest_version(MIGRATIONS) < "9999"
    with pytest.raises(SchemaTooNewError, match="9999"):
        await serve(settings, None)  # type: ignore[arg-type] # it stops before it waits


def test_only_known_databases_are_opened(tmp_path: Path) -> None:
    """Without it a wrong address would quietly start an empty database somewhere else."""
    known = MessengerSettings(database_url=f"sqlite:///{tmp_path}/other.db")
    assert migrate_database(Settings(data_dir=tmp_path, messenger=known)) is True
    assert (tmp_path / "other.db").exists()
    for url in ("mysql://somewhere/palaver", "sqlite:///", "other.db"):
        unknown = MessengerSettings(database_url=url)
        with pytest.raises(StartError, match="database_url"):
            migrate_database(Settings(data_dir=tmp_path, messenger=unknown))
