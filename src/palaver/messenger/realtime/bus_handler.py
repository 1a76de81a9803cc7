"""Events of committed transactions on their way to this replica's sockets, whoever committed them."""

import asyncio
from collections.abc import Sequence

from palaver.messenger.events import (
    Commit,
    Event,
    MembersChanged,
    MessageChanged,
    MessagesAppended,
    Position,
    PresenceChanged,
    ReceiptMoved,
    Typing,
)
from palaver.messenger.realtime.followed import Delivery, FollowedPositions
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import CachedChat, Memberships
from palaver.messenger.realtime.ordering import OrderedDelivery
from palaver.messenger.realtime.subscriptions import Subscriptions
from palaver.messenger.store.members import MOST_COMPANIONS, read_companions
from palaver.messenger.store.messages import MessageReader
from palaver.runtime.requester import SERVICE, work_for
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log


class BusHandler:
    """Hands events to the hub: those of other replicas, and of this one's own use cases."""

    def __init__(
        self,
        memberships: Memberships,
        hub: Hub,
        ordering: OrderedDelivery,
        followed: FollowedPositions,
        subscriptions: Subscriptions,
        database: Database,
        reader: MessageReader,
    ) -> None:
        self._memberships = memberships
        self._hub = hub
        self._ordering = ordering
        self._followed = followed
        self._subscriptions = subscriptions
        self._database = database
        self._reader = reader
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, position: Position | None, events: Sequence[Event]) -> None:
        """Takes a transaction of another replica (see `bus.Receive`)."""
        if position is None or self._followed.note(position):
            self.handle(events, Delivery(self._followed, position))

    def receive_logged(self, commit: Commit) -> bool:
        """Takes a transaction from the commit log, which has those of all chats. False: it was known
        before."""
        is_new = self._followed.note(commit.position)
        if is_new:
            wanted = [event for event in commit.entries if self._subscriptions.may_concern(event)]
            self.handle(wanted, Delivery(self._followed, commit.position))
        return is_new

    def handle(self, events: Sequence[Event], delivery: Delivery) -> None:
        """Delivers events, now where nothing has to be read, and finishes the first part of `delivery`."""
        later = [event for event in events if not self._handle_now(event, delivery)]
        if later:
            delivery.add_part()
            task = asyncio.create_task(self._handle_later(later, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        delivery.finish_part()

    async def stop(self) -> None:
        """Gives up what is being read."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _handle_now(self, event: Event, delivery: Delivery) -> bool:
        """Whether an event could be delivered at once, as nearly all can."""
        match event:
            case ReceiptMoved() | Typing():
                chat = self._memberships.get(event.chat_id)
                if chat is None or chat.is_stale:
                    return False
                self._deliver(event, chat, delivery)
                return True
            case MembersChanged():
                # At once: whoever left must not receive what is sent after that
                self._memberships.invalidate(event.chat_id)
                return not self._subscriptions.concerns(event)
            case _:
                return False

    async def _handle_later(self, events: Sequence[Event], delivery: Delivery) -> None:
        # For whom it is delivered to, whoever has done it
        work_for(SERVICE)
        try:
            for event in events:
                await self._read_and_deliver(event, delivery)
        except Exception:
            log.exception("events_not_delivered")
            delivery.abandon()
        else:
            delivery.finish_part()

    async def _read_and_deliver(self, event: Event, delivery: Delivery) -> None:
        match event:
            case MembersChanged():
                await self._subscriptions.follow(event)
            case PresenceChanged():
                companions = await self._database.read(read_companions, event.user_id, MOST_COMPANIONS)
                self._hub.deliver_presence(event, companions)
            case _:
                if isinstance(event, MessagesAppended):
                    cached = self._memberships.get(event.chat_id)
                    if cached is not None and cached.membership.version < event.members_version:
                        # Somebody who left must not receive what was sent after that
                        self._memberships.invalidate(event.chat_id)
                chat = await self._memberships.chat(event.chat_id)
                if isinstance(event, MessageChanged) and chat is not None:
                    place = (event.chat_id, event.seq)
                    message = (await self._reader.at([place])).get(place)
                    if message is not None:
                        self._hub.deliver_change(chat.membership, message)
                elif chat is not None:
                    self._deliver(event, chat, delivery)

    def _deliver(self, event: Event, chat: CachedChat, delivery: Delivery) -> None:
        match event:
            case MessagesAppended():
                self._ordering.deliver_until(chat, event.first_seq, event.last_seq, delivery)
            case ReceiptMoved():
                self._hub.deliver_receipt(chat.membership, event)
            case Typing():
                self._hub.deliver_typing(chat.membership, event.user_id)
