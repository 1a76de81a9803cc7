"""Who came and who went, told to the other sides of direct chats, off the path of messages."""

import asyncio
from collections.abc import Callable, Sequence

from palaver.contracts.times import now_us
from palaver.messenger.realtime.bus import CameOrWent
from palaver.messenger.realtime.committer import Committer
from palaver.messenger.realtime.gateway_connection import Socket
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import read_companions
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

# A client that comes back within this time was never away.
GONE_SECONDS = 2.0
# Of a user with very many direct chats, the most active ones are told.
MOST_COMPANIONS = 200


class Presence:
    """Turns the first and last sockets of users into news for their companions."""

    def __init__(
        self, hub: Hub, database: Database, committer: Committer, say: Callable[[CameOrWent], None]
    ) -> None:
        self._hub = hub
        self._database = database
        self._committer = committer
        self._say = say
        self._leaving: dict[bytes, asyncio.TimerHandle] = {}
        self._news: dict[bytes, bool] = {}
        self._newcomers: list[Socket] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to tell."""
        self._task = asyncio.create_task(self._run(), name="presence")

    async def stop(self) -> None:
        """Writes down that everybody here was seen just now."""
        for user_id in {*self._hub.online, *self._leaving}:
            self._committer.submit_seen(user_id, now_us())
        for timer in self._leaving.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def came(self, socket: Socket, *, first: bool) -> None:
        """A socket opened; `first`: of its user."""
        timer = self._leaving.pop(socket.user_id, None)
        if timer is not None:
            timer.cancel()
        elif first:
            self._news[socket.user_id] = True
        self._newcomers.append(socket)
        self._wake.set()

    def went(self, user_id: bytes) -> None:
        """The user's last socket closed."""
        loop = asyncio.get_running_loop()
        self._leaving[user_id] = loop.call_later(GONE_SECONDS, self._gone, user_id)

    def _gone(self, user_id: bytes) -> None:
        self._leaving.pop(user_id, None)
        if user_id in self._hub.online:
            # The gateway's stream broke, and its sockets are open again
            return
        self._committer.submit_seen(user_id, now_us())
        self._news[user_id] = False
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            news, self._news = self._news, {}
            newcomers, self._newcomers = self._newcomers, []
            try:
                for socket in newcomers:
                    await self._welcome(socket, news.pop(socket.user_id, None))
                for user_id, online in news.items():
                    self._tell(user_id, online, await self._companions(user_id))
            except Exception:
                log.exception("presence not told")

    async def _welcome(self, socket: Socket, online: bool | None) -> None:
        """Tells a newcomer who is there, and those that the newcomer is."""
        companions = await self._companions(socket.user_id)
        if online is not None:
            self._tell(socket.user_id, online, companions)
        for user_id in companions:
            if user_id in self._hub.online and socket.number in socket.gateway.sockets:
                socket.gateway.outbox.presences.add(user_id=user_id, online=True, sockets=[socket.number])
                socket.gateway.wake()

    def _tell(self, user_id: bytes, online: bool, companions: Sequence[bytes]) -> None:
        at = now_us()
        self._hub.tell_presence(user_id, online, at, companions)
        self._say(CameOrWent(user_id, online, at, list(companions)))

    async def _companions(self, user_id: bytes) -> Sequence[bytes]:
        return await self._database.read(read_companions, user_id, MOST_COMPANIONS)
