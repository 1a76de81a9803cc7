"""A messenger that dies or restarts under load: 500 sockets of both generations stay open and see nothing."""

import asyncio
import signal
from pathlib import Path

import pytest

from palaver.contracts.ids import new_id
from tests.harness.messenger_process import MessengerProcess
from tests.harness.realtime import Gateway, Place, eventually, running_gateway
from tests.harness.websocket_clients import ListeningV1, ListeningV2

CHATS = 25
# Of each generation, of each of a chat's two users
SOCKETS = 5
MESSAGES = 60
RESTARTS = 3


class Conversation:
    """A direct chat, whose members have sockets of both generations. One v1 and one v2 socket send."""

    def __init__(self, chat_id: bytes, users: tuple[bytes, bytes], number: int) -> None:
        self.chat_id = chat_id
        self.users = users
        self.number = number
        self.v1: list[ListeningV1] = []
        self.v2: list[ListeningV2] = []
        self.sent_v1: list[str] = []
        self.sent_v2: dict[bytes, str] = {}

    async def open(self, gateway: Gateway) -> None:
        """Opens the sockets."""
        for user_id in self.users:
            for _ in range(SOCKETS):
                self.v1.append(await ListeningV1.open(gateway, "/messenger/ws", user_id))
                self.v2.append(await ListeningV2.open(gateway, "/v2/ws", user_id))

    async def talk(self) -> None:
        """Sends, without waiting for anything."""
        for number in range(MESSAGES):
            text = f"{self.number}: {number} of v1"
            self.sent_v1.append(text)
            self.v1[0].send(self.chat_id, text)
            text = f"{self.number}: {number} of v2"
            self.sent_v2[self.v2[-1].send(self.chat_id, text)] = text
            await asyncio.sleep(0.05)

    def is_told(self) -> bool:
        """Whether every socket has what it is to have."""
        total = len(self.sent_v1) + len(self.sent_v2)
        return (
            len(self.v2[-1].acks) == len(self.sent_v2)
            and all(len(socket.texts) >= total for socket in self.v1[1:])
            and len(self.v1[0].texts) >= len(self.sent_v2)
            and all(len(socket.seqs) >= total for socket in self.v2[:-1])
            and len(self.v2[-1].seqs) >= len(self.sent_v1)
        )

    def check(self, place: Place) -> None:
        """Nothing is lost, nothing is doubled, and all are told in one order."""
        history = place.history(self.chat_id)
        texts = [message.text for message in history]
        assert sorted(texts) == sorted([*self.sent_v1, *self.sent_v2.values()])
        assert [message.seq for message in history] == list(range(1, len(history) + 1))
        seqs = {message.client_id: message.seq for message in history}
        sender = self.v2[-1]
        assert sender.acks == {client_id: [seqs[client_id]] for client_id in self.sent_v2}
        for socket in self.v1[1:]:
            assert socket.texts == texts
        assert self.v1[0].texts == [text for text in texts if text not in self.sent_v1]
        for socket in self.v2[:-1]:
            assert socket.seqs == [message.seq for message in history]
        own = {seqs[client_id] for client_id in self.sent_v2}
        assert sender.seqs == [message.seq for message in history if message.seq not in own]
        for socket in (*self.v1, *self.v2):
            assert socket.closed is None
        assert not any(socket.errors for socket in self.v1)
        assert not any(socket.frames("error") for socket in self.v2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_restarts_drop_no_socket_and_lose_and_double_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Everybody would be thrown out by each update of the messenger, and find messages missing or twice."""
    place = Place(tmp_path)
    messenger = MessengerProcess(place)
    with messenger.running():
        async with running_gateway(place.keys, messenger.port) as gateway:
            conversations = []
            for index in range(CHATS):
                users = (new_id(), new_id())
                conversations.append(Conversation(place.direct(*users), users, index))
            await asyncio.gather(*(conversation.open(gateway) for conversation in conversations))
            assert gateway.sockets.count() == CHATS * SOCKETS * 4
            await eventually(
                lambda: all(socket.frames("hello") for c in conversations for socket in c.v2), "all attached"
            )
            talks = asyncio.gather(*(conversation.talk() for conversation in conversations))
            caught = 0
            for _ in range(RESTARTS):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(messenger.stop, number)
                await asyncio.sleep(0.1)
                caught += len(gateway.sends)
                await asyncio.to_thread(messenger.start)
                await eventually(lambda: gateway.stream.is_attached, "attached again")
            await talks
            assert caught, "no send met a messenger that was away"
            await eventually(lambda: all(c.is_told() for c in conversations), "everybody told")
            for conversation in conversations:
                conversation.check(place)
            assert gateway.sockets.count() == CHATS * SOCKETS * 4
    place.close()
