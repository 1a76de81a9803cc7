"""Who belongs to the chats that are in use, kept in memory, and how far their messages have been
delivered."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.messenger.domain import Membership, no_such_chat
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.followed import Delivery, FollowedPositions
from palaver.messenger.realtime.gateway_connection import GatewayReply
from palaver.messenger.store.members import read_memberships
from palaver.runtime.requester import SERVICE, work_for
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text

# What waits for its chat at a stop is refused after so long.
STOP_SECONDS = 2.0


class DeliveryState:
    """How far a chat's messages have been delivered to this replica's sockets.

    `delivered_seq`: the last one. `wanted_seq`: the seq up to which they are to be read and delivered.
    `held`: own sends behind a hole, by first seq. `waiting`: others' deliveries, with first and last
    seq. `unsettled`: client ids of own sends that are not answered yet.
    """

    __slots__ = ("answered", "delivered_seq", "held", "is_filling", "unsettled", "waiting", "wanted_seq")

    def __init__(self, delivered_seq: int) -> None:
        self.delivered_seq = self.wanted_seq = delivered_seq
        self.is_filling = False
        self.held: dict[int, tuple[PendingSend, Delivery]] = {}
        self.waiting: list[tuple[int, int, Delivery]] = []
        self.unsettled: set[bytes] = set()
        self.answered: dict[int, GatewayReply] = {}


class CachedChat:
    """One chat in memory. `pending`: its sends that are not answered yet; it stays for so long. `is_behind`:
    what others wrote may not have reached it."""

    __slots__ = ("delivery", "is_behind", "is_stale", "membership", "pending")

    def __init__(self, membership: Membership, delivered_seq: int) -> None:
        self.membership = membership
        self.delivery = DeliveryState(delivered_seq)
        self.is_stale = False
        self.is_behind = False
        self.pending = 0


Found = CachedChat | PalaverError
Then = Callable[[Found], None]


class Memberships:
    """The chats in memory, read when first needed; the least recently read leave first.

    `is_shared`: whether other replicas change members too.
    """

    def __init__(
        self, database: Database, followed: FollowedPositions, most: int, *, is_shared: bool
    ) -> None:
        self._database = database
        self._followed = followed
        self._most = most
        self._is_shared = is_shared
        self._known: OrderedDict[bytes, CachedChat] = OrderedDict()
        self._loading: dict[bytes, list[Then]] = {}
        # Chats whose members changed while they were being read
        self._outdated: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, chat_id: bytes) -> CachedChat | None:
        """A chat, if it is in memory; its members may be stale."""
        return self._known.get(chat_id)

    def with_member(self, chat_id: bytes, user_id: bytes) -> CachedChat | None:
        """A chat that the user is a member of, if that is known without reading."""
        chat = self._known.get(chat_id)
        if (
            chat is None
            or chat.is_stale
            or user_id not in chat.membership.members
            or chat_id in self._loading
        ):
            return None
        return chat

    def for_member(self, chat_id: bytes, user_id: bytes, then: Then) -> None:
        """Calls `then` with a chat that the user is a member of, or with the error.

        Now where it is in memory, soon where it must be read. Calls for one chat keep their order.
        """
        chat = self.with_member(chat_id, user_id)
        known = self._known.get(chat_id)
        if chat is not None:
            then(chat)
        elif known is not None and not (known.is_stale or chat_id in self._loading or self._is_shared):
            then(no_such_chat())
        else:
            # Not in memory; or not a member, as far as this replica knows
            self._load(chat_id, lambda found: then(member_or_error(found, user_id)))

    def for_chat(self, chat_id: bytes, then: Then) -> None:
        """Calls `then` with a chat, or with the error."""
        chat = self._known.get(chat_id)
        if chat is not None and not chat.is_stale and chat_id not in self._loading:
            then(chat)
        else:
            self._load(chat_id, then)

    async def chat(self, chat_id: bytes) -> CachedChat | None:
        """A chat; None where there is none. Raises `unavailable`."""
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.for_chat(chat_id, lambda chat: None if found.done() else found.set_result(chat))
        chat = await found
        if isinstance(chat, CachedChat):
            return chat
        if chat.kind is UNAVAILABLE:
            raise chat
        return None

    def invalidate(self, chat_id: bytes) -> None:
        """The chat's members changed: they are read anew before they are next needed."""
        chat = self._known.get(chat_id)
        if chat is not None:
            chat.is_stale = True
        if chat_id in self._loading:
            self._outdated.add(chat_id)

    def catch_up(self, chat_id: bytes) -> None:
        """From now on the replica gets what others write to the chat: that was so only if somebody here was
        in it. It is read anew with how far it has come."""
        chat = self._known.get(chat_id)
        if chat is not None:
            chat.is_behind = True
        self.invalidate(chat_id)

    async def stop(self) -> None:
        """Waits for what is being read, but not for ever: gateways go on to send what must be read."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)

    def _load(self, chat_id: bytes, then: Then) -> None:
        if not self._loading:
            # A task begins in the next turn of the event loop: one read for all that this turn needs
            task = asyncio.create_task(self._load_all(), name="memberships")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._loading.setdefault(chat_id, []).append(then)

    async def _load_all(self) -> None:
        # For all who wait, whoever was the first of them
        work_for(SERVICE)
        while self._loading:
            wanted = list(self._loading)
            self._outdated.clear()
            found: dict[bytes, CachedChat] = {}
            error = no_such_chat()
            try:
                followed = self._followed.vector if self._is_shared else None
                for membership, delivered_seq in await self._database.read(
                    read_memberships, wanted, followed
                ):
                    found[membership.chat_id] = self._keep(membership, delivered_seq)
            except Exception as cause:
                log.exception("chats_not_read")
                error = PalaverError(UNAVAILABLE, retry_after=1.0, cause=error_text(cause))
            for chat_id in wanted:
                if chat_id in self._outdated:
                    # What was read may be older than the change: whoever waits must not get it
                    continue
                call_all(self._loading.pop(chat_id), found.get(chat_id, error))

    def _keep(self, membership: Membership, delivered_seq: int) -> CachedChat:
        """Remembers newly read members; how far messages were delivered survives a change of them."""
        chat = self._known.get(membership.chat_id)
        if chat is not None:
            chat.membership = membership
            chat.is_stale = False
            state = chat.delivery
            if chat.is_behind and membership.chat_id not in self._outdated:
                chat.is_behind = False
                if not (state.held or state.waiting or state.is_filling):
                    # Nobody was here to get what came meanwhile; live it would come as new
                    state.delivered_seq = max(state.delivered_seq, delivered_seq)
                    state.wanted_seq = max(state.wanted_seq, state.delivered_seq)
            self._known.move_to_end(membership.chat_id)
            return chat
        chat = self._known[membership.chat_id] = CachedChat(membership, delivered_seq)
        if len(self._known) > self._most:
            self._drop_oldest()
        return chat

    def _drop_oldest(self) -> None:
        for chat_id in list(self._known)[: len(self._known) - self._most]:
            chat = self._known[chat_id]
            if not chat.pending and not chat.delivery.is_filling:
                del self._known[chat_id]


def call_all(waiting: Sequence[Then], found: Found) -> None:
    """Calls all who wait for a chat, whatever one of them raises: the others, and other chats, must go on."""
    for then in waiting:
        try:
            then(found)
        except Exception:
            log.exception("chat_not_used")


def member_or_error(found: Found, user_id: bytes) -> Found:
    """The chat, if the user belongs to it."""
    if isinstance(found, CachedChat) and user_id not in found.membership.members:
        return no_such_chat()
    return found
