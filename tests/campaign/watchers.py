"""Users who only read, over a bare WebSocket: what came through each connection is judged as it came."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp
import msgspec

from palaver.client import Client, PalaverError
from palaver.client.rest import bearer
from tests.campaign.writers import cut_connections

HEARTBEAT_SECONDS = 5.0
SECONDS_BETWEEN = (0.05, 0.4)
HANDSHAKE_SECONDS = 10.0


@dataclass
class Watcher:
    """A member of a chat that keeps a cursor, and nothing else, between its connections, each of which is to
    any one of the gateways.

    `told`: the ids of the messages, by seqs from 1. `twice`, `out_of_order`: what one connection did wrong.
    """

    client: Client
    chat_id: str
    urls: Sequence[str]
    chance: random.Random
    told: list[str] = field(default_factory=list)
    connections: int = 0
    twice: int = 0
    out_of_order: int = 0
    _frames: list[tuple[int, str]] = field(default_factory=list)
    _resumed_at: int | None = None

    @property
    def cursor(self) -> int:
        """The last seq seen."""
        return len(self.told)

    async def run(self) -> None:
        """Reads until it is cancelled."""
        while True:
            with contextlib.suppress(PalaverError, aiohttp.ClientError, TimeoutError):
                await self._connect()
            self._take()
            await asyncio.sleep(self.chance.uniform(*SECONDS_BETWEEN))

    async def _connect(self) -> None:
        """One connection, to its end."""
        url = self.chance.choice(self.urls).replace("http", "ws", 1) + "/v2/ws"
        token = await self.client._rest.token()
        timeout = aiohttp.ClientWSTimeout(ws_close=1.0)
        # Not `wait_for`: on Python 3.11 it loses a cancellation that comes with the result
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            connected = await self.client._rest.session.ws_connect(
                url, headers=bearer(token), heartbeat=HEARTBEAT_SECONDS, timeout=timeout
            )
        async with connected as socket:
            self.connections += 1
            async for received in socket:
                if received.type is not aiohttp.WSMsgType.TEXT:
                    return
                frame = msgspec.json.decode(received.data)
                if frame["type"] == "hello":
                    await socket.send_json({"type": "resume", "cursors": {self.chat_id: self.cursor}})
                elif frame["type"] == "error":
                    # Not all that was missed could be read: what follows begins behind a hole
                    return
                elif frame["type"] == "resumed":
                    self._resumed_at = len(self._frames)
                elif frame["type"] == "message":
                    self._frames.append((frame["seq"], frame["id"]))

    def cut(self) -> None:
        """Resets the TCP connections of this user."""
        cut_connections(self.client)

    @property
    def seen(self) -> int:
        """The last seq that came, also through the connection that lasts."""
        return max((self.cursor, *(seq for seq, _ in self._frames)))

    def settle(self) -> None:
        """Judges the connection that lasts."""
        self._take()

    def _take(self) -> None:
        """Adds what a connection told: from the cursor on, without a hole, each once.

        What came before the gateway heard of the resume may come again after it: it is in order, once.
        """
        frames, self._frames = self._frames, []
        resumed, self._resumed_at = self._resumed_at, None
        seqs = [seq for seq, _ in frames]
        starts = [index for index, seq in enumerate(seqs[:resumed]) if seq == self.cursor + 1]
        begin = starts[-1] if starts else len(seqs) if resumed is None else resumed
        early = seqs[:begin]
        self.twice += len(early) - len(set(early)) + sum(seq <= self.cursor for seq in early)
        self.out_of_order += sum(later < earlier for earlier, later in pairwise(early))
        for seq, message_id in frames[begin:]:
            if seq == self.cursor + 1:
                self.told.append(message_id)
            elif seq <= self.cursor:
                self.twice += 1
            else:
                self.out_of_order += 1
