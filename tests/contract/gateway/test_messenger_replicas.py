"""A gateway's stream before two messengers of one journal; one dies, freezes, stops or is cut off."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from palaver.contracts.ids import new_id
from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import MessengerBatch, SentReply, SocketOpen, SocketOpened
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSend, PendingSends
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.grpc.replica_streams import ReplicaStreams
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.replicas.replicas import Replicas
from tests.harness.journaling_messenger import JournalingMessenger
from tests.harness.tcp_proxy import HOST, TcpProxy, tcp_proxy
from tests.harness.waiting import eventually

SOCKETS = 200
SENDS_BEFORE, SENDS_AFTER = 50, 100


@dataclass(frozen=True)
class Sender:
    """A socket."""

    number: int = 1
    user_id: bytes = b"alice"
    token: str = "token"
    opened_at: int = 1
    proof: bytes = b""


@dataclass
class Sockets:
    """The handler of the stream: the sockets that it opened, and how often each send was acknowledged."""

    opened: list[int] = field(default_factory=list)
    acks: Counter[bytes] = field(default_factory=Counter)

    def reopenings(self) -> list[SocketOpen]:
        """See `StreamHandler`."""
        self.opened.clear()
        return [SocketOpen(socket=number, opened_at=1) for number in range(1, SOCKETS + 1)]

    def handle_opened(self, opened: SocketOpened) -> None:
        """See `StreamHandler`."""
        self.opened.append(opened.socket)

    def handle_reply(self, _: SentReply, send: PendingSend) -> None:
        """See `StreamHandler`."""
        self.acks[send.client_ids[0]] += 1

    def handle_batch(self, _: MessengerBatch) -> None:
        """See `StreamHandler`."""


class Gateway:
    """A gateway's stream that may go to either of two messengers, each behind a proxy."""

    def __init__(self, messengers: list[JournalingMessenger], proxies: list[TcpProxy]) -> None:
        self.messengers = messengers
        self.proxies = proxies
        self.sockets = Sockets()
        setting = ",".join(f"{HOST}:{proxy.port}" for proxy in proxies)
        self.streams = ReplicaStreams(Replicas(setting), ATTACH, MessengerBatch.FromString, MESSAGE_BYTES)
        outbox = Outbox()
        self.stream = MessengerStream(
            self.streams,
            outbox,
            PendingSends(10_000, 10_000_000),
            PendingReads(outbox),
            self.sockets,  # type: ignore[arg-type] # nothing else comes
        )
        self.sent: list[bytes] = []

    @property
    def attached_to(self) -> int:
        """Which of the two it is attached to."""
        return [f"{HOST}:{proxy.port}" for proxy in self.proxies].index(self.streams.target)

    def is_whole(self) -> bool:
        """Whether the stream stands, and all sockets are open on it."""
        return self.stream.is_attached and len(self.sockets.opened) == SOCKETS

    async def send(self, count: int) -> None:
        """Sends messages, without waiting for anything."""
        for _ in range(count):
            send = PendingSend(b"chat", [new_id()], ["text"])
            send.accept(Sender(), 1)
            self.sent.append(send.client_ids[0])
            self.stream.send(send)
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_gateway(directory: Path) -> AsyncIterator[Gateway]:
    """The gateway and both messengers, attached."""
    with JournalingMessenger.running(directory / "journal", "one", "two") as messengers:
        async with (
            tcp_proxy(messengers[0].port) as first,
            tcp_proxy(messengers[1].port) as second,
        ):
            gateway = Gateway(messengers, [first, second])
            gateway.stream.start()
            try:
                await eventually(gateway.is_whole, "attached")
                yield gateway
            finally:
                await gateway.stream.stop()


def kill(messenger: JournalingMessenger, _: TcpProxy) -> None:
    """Dies at once."""
    os.kill(messenger.process.process.pid, signal.SIGKILL)


def freeze(messenger: JournalingMessenger, _: TcpProxy) -> None:
    """Is there, takes connections, and does nothing."""
    os.kill(messenger.process.process.pid, signal.SIGSTOP)


def drain(messenger: JournalingMessenger, _: TcpProxy) -> None:
    """Stops in order."""
    os.kill(messenger.process.process.pid, signal.SIGTERM)


def cut(_: JournalingMessenger, proxy: TcpProxy) -> None:
    """Its network is gone: nobody is told."""
    proxy.cut = True


@pytest.mark.parametrize("fail", [kill, freeze, drain, cut])
async def test_the_stream_moves_to_another_messenger_and_loses_nothing(
    tmp_path: Path, fail: Callable[[JournalingMessenger, TcpProxy], None]
) -> None:
    """Everybody on a gateway would go silent with one messenger of many, and lose what they had just sent."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.send(SENDS_BEFORE)
        first = gateway.attached_to
        sending = asyncio.create_task(gateway.send(SENDS_AFTER))
        fail(gateway.messengers[first], gateway.proxies[first])
        await eventually(
            lambda: gateway.is_whole() and gateway.attached_to != first, "attached to the other one"
        )
        await sending
        await eventually(lambda: len(gateway.sockets.acks) == len(gateway.sent), "all are acknowledged")
        if fail is freeze:
            # What it had read before it froze must not be answered now
            os.kill(gateway.messengers[first].process.process.pid, signal.SIGCONT)
            await gateway.send(10)
            await eventually(lambda: len(gateway.sockets.acks) == len(gateway.sent), "the last ones")
        assert gateway.sockets.acks == Counter(gateway.sent)
        stored = {bytes.fromhex(file.name) for file in (tmp_path / "journal").iterdir()}
        assert stored == set(gateway.sent)


async def test_a_messenger_that_is_back_takes_over_again(tmp_path: Path) -> None:
    """After each of two messengers has failed once, nobody would be left to go to."""
    async with running_gateway(tmp_path) as gateway:
        first = gateway.attached_to
        gateway.proxies[first].cut = True
        await eventually(lambda: gateway.is_whole() and gateway.attached_to != first, "the other one")
        gateway.proxies[first].cut = False
        gateway.proxies[1 - first].cut = True
        await eventually(lambda: gateway.is_whole() and gateway.attached_to == first, "the first one")
        await gateway.send(1)
        await eventually(lambda: len(gateway.sockets.acks) == 1, "it works")
