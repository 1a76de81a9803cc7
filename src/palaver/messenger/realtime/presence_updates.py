"""Who came and who went: from first and last sockets to what companions receive, off the path of messages.

Whether a user is online is stored, and a transaction that changes it is an entry of the commit log. So
companions receive each change once, whichever replica noticed it, and whoever was away receives it
afterwards.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from palaver.contracts.times import now_us
from palaver.messenger.events import PresenceChanged
from palaver.messenger.realtime.committers import Committers
from palaver.messenger.realtime.gateway_connection import Socket
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.presence import REFRESH_SECONDS, Presence
from palaver.messenger.realtime.subscriptions import Subscriptions
from palaver.messenger.store.members import MOST_COMPANIONS, read_companions, read_online
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

# A client that comes back within this time was never away.
GONE_SECONDS = 2.0
# Gateways of a messenger that was started again are back within this time, and their sockets with them.
RETURN_SECONDS = 5.0


class PresenceUpdates:
    """Notices who comes and goes on this replica, and tells newcomers who is there."""

    def __init__(
        self,
        replica: bytes,
        hub: Hub,
        presence: Presence,
        subscriptions: Subscriptions,
        database: Database,
        committers: Committers,
    ) -> None:
        self._replica = replica
        self._hub = hub
        self._presence = presence
        self._subscriptions = subscriptions
        self._database = database
        self._committers = committers
        self._leaving: dict[bytes, asyncio.TimerHandle] = {}
        # What `run` is to do
        self._came: list[bytes] = []
        self._newcomers: list[Socket] = []
        self._gone: list[bytes] = []
        self._wake = asyncio.Event()

    def open(self, socket: Socket, *, first: bool, new: bool) -> None:
        """A socket opened. `first`: of its user; `new`: it was not open on an earlier stream."""
        timer = self._leaving.pop(socket.user_id, None)
        if timer is not None:
            timer.cancel()
        if first:
            self._committers.submit_presence(socket.user_id, True, now_us())
            self._came.append(socket.user_id)
        if new:
            self._newcomers.append(socket)
        if first or new:
            self._wake.set()

    def close(self, user_id: bytes) -> None:
        """The user's last socket here closed."""
        loop = asyncio.get_running_loop()
        self._leaving[user_id] = loop.call_later(GONE_SECONDS, self._note_gone, user_id)

    def _note_gone(self, user_id: bytes) -> None:
        self._leaving.pop(user_id, None)
        if user_id not in self._hub.online:
            self._gone.append(user_id)
            self._wake.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            came, self._came = self._came, []
            newcomers, self._newcomers = self._newcomers, []
            gone, self._gone = self._gone, []
            try:
                await self._presence.enter(self._replica, came)
                for socket in newcomers:
                    await self._welcome(socket)
                await self._leave(gone)
            except Exception:
                log.exception("presence_not_updated")

    async def keep_alive(self) -> None:
        """Enters everybody here again before their entries end, and looks for users whom nobody entered; for
        ever."""
        await asyncio.sleep(RETURN_SECONDS)
        while True:
            try:
                await self._presence.enter(self._replica, list(self._hub.online))
                await self._announce_lost()
            except Exception:
                log.exception("presence_not_kept")
            # Whoever went while nobody could know waits for it
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._presence.returned()

    def stop(self) -> None:
        """Stores that everybody here was seen just now. They stay online: their gateways come back."""
        for user_id in {*self._hub.online, *self._leaving}:
            self._committers.submit_presence(user_id, True, now_us())
        for timer in self._leaving.values():
            timer.cancel()

    async def _welcome(self, socket: Socket) -> None:
        """Sends a newcomer who is there."""
        companions = await self._database.read(read_companions, socket.user_id, MOST_COMPANIONS)
        if socket.number not in socket.gateway.sockets:
            return
        for user_id, online in companions.items():
            if online:
                socket.gateway.live.presences.add(user_id=user_id, online=True, sockets=[socket.number])
                socket.gateway.wake()

    async def _leave(self, user_ids: Sequence[bytes]) -> None:
        """Users have no socket here any more: they are offline unless another replica has one."""
        gone = [user_id for user_id in user_ids if user_id not in self._hub.online]
        await self._presence.leave(self._replica, gone)
        present = await self._presence.present(gone)
        for user_id in gone:
            if user_id in self._hub.online:
                continue
            if user_id not in present:
                self._committers.submit_presence(user_id, False, now_us())
            else:
                await self._subscriptions.remove_user(user_id)

    async def unfollow_gone(self, changed: PresenceChanged) -> None:
        """A user is stored as offline, and that is published: nothing of theirs concerns this replica now."""
        if not changed.online and changed.user_id not in self._hub.online:
            await self._subscriptions.remove_user(changed.user_id)

    async def _announce_lost(self) -> None:
        """Who is stored as online, and has a socket nowhere, was at a replica that died. Who has one here and
        is not stored came in a batch that failed, or another replica took them for lost."""
        stored = await self._database.read(read_online)
        for user_id in self._hub.online.keys() - stored:
            self._committers.submit_presence(user_id, True, now_us())
        present = await self._presence.present(stored)
        for user_id in stored:
            if user_id not in present and user_id not in self._hub.online and user_id not in self._leaving:
                self._committers.submit_presence(user_id, False, now_us())
