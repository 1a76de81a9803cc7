"""What this replica subscribes to on the bus: its sockets' users, and the chats that they are members of."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from palaver.messenger.events import Event, MembersChanged, PresenceChanged
from palaver.messenger.realtime.bus import Bus
from palaver.messenger.realtime.memberships import Memberships
from palaver.messenger.store.members import read_chats_of
from palaver.runtime.sql.database import Database

# The topic of what is announced of a user by a replica where they are not: it does not know their chats
ALL_REPLICAS = b"all replicas"


class Subscriptions:
    """Follows the first and last sockets of users. Where the bus is not shared nothing is read or kept."""

    def __init__(self, bus: Bus, replica: bytes, database: Database, memberships: Memberships) -> None:
        self._bus = bus
        self._replica = replica
        self._database = database
        self._memberships = memberships
        self._chats_of: dict[bytes, set[bytes]] = {}
        self._users_in: Counter[bytes] = Counter()
        self._ready: dict[bytes, asyncio.Event] = {}

    async def start(self) -> None:
        """Subscribes to what concerns all replicas."""
        await self._bus.subscribe(self._replica, [ALL_REPLICAS])

    async def add_users(self, user_ids: Iterable[bytes]) -> None:
        """Subscribes to users and their chats, which are read at once: a gateway brings hundreds of users. On
        return whatever is published there arrives."""
        if not self._bus.is_shared:
            return
        wanted = list(dict.fromkeys(user_ids))
        # Until all are there at once: while some are added, others may go with their last socket
        while True:
            if new := [user_id for user_id in wanted if user_id not in self._ready]:
                await self._add_new(new)
                continue
            # A second socket that opened at once would miss what is published until then
            ready = next((ready for user_id in wanted if not (ready := self._ready[user_id]).is_set()), None)
            if ready is None:
                return
            await ready.wait()

    async def _add_new(self, user_ids: list[bytes]) -> None:
        ready = asyncio.Event()
        for user_id in user_ids:
            self._ready[user_id] = ready
            self._chats_of[user_id] = set()
        try:
            # The users first: a chat that they join while their chats are read is followed by its event
            await self._bus.subscribe(self._replica, user_ids)
            await self._add_chats(await self._database.read(read_chats_of, user_ids))
        except BaseException:
            for user_id in user_ids:
                del self._ready[user_id]
            raise
        finally:
            ready.set()

    async def remove_user(self, user_id: bytes) -> None:
        """Unsubscribes from a user, and from chats in which nobody else is here."""
        ready = self._ready.get(user_id)
        if ready is None or not ready.is_set():
            # Not subscribed to; or a socket of theirs is opening
            return
        del self._ready[user_id]
        chats = self._chats_of.pop(user_id)
        self._users_in.subtract(chats)
        unused = [chat_id for chat_id in chats if self._users_in[chat_id] <= 0]
        for chat_id in unused:
            del self._users_in[chat_id]
        await self._bus.unsubscribe(self._replica, [user_id, *unused])

    def is_followed(self, chat_id: bytes) -> bool:
        """Whether this replica gets all that happens in a chat."""
        return not self._bus.is_shared or chat_id in self._users_in

    def topics_of(self, user_id: bytes) -> set[bytes]:
        """By what a user's companions are reached: the chats of one who is here; else by all replicas."""
        return self._chats_of.get(user_id, {ALL_REPLICAS})

    def concerns(self, changed: MembersChanged) -> bool:
        """Whether one of those who joined or left is here."""
        return any(user_id in self._chats_of for user_id in changed.user_ids)

    def may_concern(self, event: Event) -> bool:
        """Whether the bus might have brought an event here: one of the commit log, which names no topics."""
        # Who left is forgotten, wherever they were; and whose companions are here is not in the log
        return isinstance(event, MembersChanged | PresenceChanged) or self.is_followed(event.chat_id)

    async def follow(self, changed: MembersChanged) -> None:
        """Subscribes to a chat that one of the users here has joined. One that was left stays until they
        go."""
        for user_id in changed.user_ids:
            if user_id in self._chats_of:
                await self._add_chats({user_id: [changed.chat_id]})

    async def _add_chats(self, chats_of: Mapping[bytes, Iterable[bytes]]) -> None:
        new: list[bytes] = []
        for user_id, chat_ids in chats_of.items():
            known = self._chats_of.get(user_id)
            # None: the last socket closed meanwhile
            if known is not None:
                joined = set(chat_ids) - known
                known |= joined
                new += joined
        unfollowed = [chat_id for chat_id in dict.fromkeys(new) if not self._users_in[chat_id]]
        self._users_in.update(new)
        await self._bus.subscribe(self._replica, new)
        for chat_id in unfollowed:
            self._memberships.catch_up(chat_id)
