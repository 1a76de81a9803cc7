"""Users who write and read through all faults, and what they remember of it."""

import asyncio
import contextlib
import random
import uuid
from dataclasses import dataclass, field

from palaver.client import Client, Message, PalaverError, Sent, Socket
from palaver.client.backoff import Backoff
from palaver.client.models import SentMessages
from tests.harness.users import PASSWORD

IN_FLIGHT = 4
SEND_SECONDS = 90.0
# How long what was written may take to reach everybody once the faults are over
SETTLE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 0.5


@dataclass
class Writer:
    """A user who writes and reads. `acked`: by client id; `seen`: what the socket delivered."""

    client: Client
    chat_id: str
    in_flight: int = IN_FLIGHT
    acked: dict[str, Sent] = field(default_factory=dict)
    seen: list[Message] = field(default_factory=list)
    refused: list[PalaverError] = field(default_factory=list)

    async def run(self, stopping: asyncio.Event, all_written: asyncio.Barrier) -> None:
        """Writes until `stopping`, and reads until all that was written has been delivered."""
        live = self.client.socket({self.chat_id: 0}, connect_seconds=SEND_SECONDS)
        # By itself it waits up to half a minute after a row of crashes, and this is one long row
        live._backoff = Backoff(random.random, longest=LONGEST_PAUSE_SECONDS)
        async with live as socket:
            reading = asyncio.create_task(self._read(socket))
            await asyncio.gather(*(self._write(socket, stopping) for _ in range(self.in_flight)))
            await all_written.wait()
            last = (await self.client.chat(self.chat_id)).last_seq
            # What is missing after that is counted, and ends nothing
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    while socket.cursors.get(self.chat_id, 0) < last:  # noqa: ASYNC110 - moved by the server
                        await asyncio.sleep(0.05)
                    await socket.caught_up()
            await socket.close()
            await reading

    async def _write(self, socket: Socket, stopping: asyncio.Event) -> None:
        """Sends one message after the other. The socket sends each again until it is acked."""
        while not stopping.is_set():
            client_id = str(uuid.uuid4())
            try:
                self.acked[client_id] = await socket.send(
                    self.chat_id, client_id, client_id=client_id, seconds=SEND_SECONDS
                )
            except PalaverError as error:
                self.refused.append(error)
            await asyncio.sleep(0.01)

    async def _read(self, socket: Socket) -> None:
        async for event in socket:
            if isinstance(event, Message):
                self.seen.append(event)

    async def send_once(self) -> None:
        """Sends a message by a call that is not repeated: it is acknowledged or refused, within a minute."""
        client_id = str(uuid.uuid4())
        body = {"messages": [{"client_id": client_id, "text": client_id}]}
        path = f"/v2/chats/{self.chat_id}/messages"
        try:
            answer = await self.client._rest.call("POST", path, SentMessages, body=body, answer_seconds=60.0)
        except PalaverError as error:
            self.refused.append(error)
            return
        [sent] = answer.messages
        self.acked[client_id] = Sent(client_id, self.chat_id, sent.seq, sent.id, sent.created_at)

    def cut(self) -> None:
        """Resets the TCP connections of this user."""
        cut_connections(self.client)


def cut_connections(client: Client) -> None:
    """Resets the TCP connections of a user."""
    connector = client._rest.session.connector
    assert connector is not None
    for protocol in list(connector._acquired):
        if protocol.transport is not None:
            protocol.transport.abort()


async def sign_in(url: str) -> Client:
    """A new user's client."""
    client = Client(url)
    email = f"{uuid.uuid4().hex}@example.org"
    await client.sign_up(email, PASSWORD, name="Bob", surname="Tallor")
    await client.sign_in(email, PASSWORD)
    return client


async def open_writers(clients: list[Client]) -> list[Writer]:
    """Writers in pairs, each pair in a direct chat of its own."""
    writers = []
    for one, other in zip(clients[::2], clients[1::2], strict=True):
        chat = await one.open_chat(other.user_id)
        writers += [Writer(one, chat.id), Writer(other, chat.id)]
    return writers
