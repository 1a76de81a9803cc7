"""The live part of one messenger replica: from sends to the journal, and from there to whoever is to receive
them."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

from palaver.contracts.errors import RESTARTING, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Receipt
from palaver.messenger.events import Event, MembersChanged, Position, PresenceChanged, Typing
from palaver.messenger.pending_send import CallReply, PendingSend, StoredKey
from palaver.messenger.realtime.bus import Bus, Published
from palaver.messenger.realtime.bus_handler import BusHandler
from palaver.messenger.realtime.committers import Committers
from palaver.messenger.realtime.followed import Delivery, FollowedPositions
from palaver.messenger.realtime.gateway_connection import GatewayReply, Socket
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.log_follower import LogFollower
from palaver.messenger.realtime.memberships import CachedChat, Found, Memberships
from palaver.messenger.realtime.ordering import OrderedDelivery
from palaver.messenger.realtime.presence import Presence
from palaver.messenger.realtime.presence_updates import PresenceUpdates
from palaver.messenger.realtime.receipt_waiters import ReceiptWaiter, ReceiptWaiters
from palaver.messenger.realtime.subscriptions import Subscriptions
from palaver.messenger.sequencing import EXACT_ACTIVITY_MEMBERS
from palaver.messenger.store.commit_log import Change, read_newest
from palaver.messenger.store.journal import ReceiptKey, Writes
from palaver.messenger.store.opening import Store
from palaver.messenger.user_rates import UserRates, spend
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext

P = ParamSpec("P")
T = TypeVar("T")

# Receipts that old clients imply, and the activity of large groups, are written this often.
LAZY_SECONDS = 1.0


class Engine:
    """Takes sends to the journal, and delivers what is committed. `start` and `stop` bound its life."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        presence: Presence,
        rates: UserRates,
        settings: MessengerSettings,
    ) -> None:
        self._store = store
        self._bus = bus
        self._rates = rates
        self._replica = new_id()
        self._lazy_activity: dict[bytes, int] = {}
        # Of users who move more than their budget allows: merged until the next flush
        self._lazy_receipts: dict[ReceiptKey, tuple[int, int]] = {}
        self._receipt_waiters = ReceiptWaiters(self.submit_receipt)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.followed = FollowedPositions()
        self.memberships = Memberships(
            store.database, self.followed, settings.chats_cached, is_shared=bus.is_shared
        )
        self.hub = Hub()
        self.committers = Committers(store.journals, self._committed, settings)
        self._subscriptions = Subscriptions(bus, self._replica, store.database, self.memberships)
        self._ordering = OrderedDelivery(self.hub, self.followed, store.database, store.messages)
        self._handler = BusHandler(
            self.memberships,
            self.hub,
            self._ordering,
            self.followed,
            self._subscriptions,
            store.database,
            store.messages,
        )
        self._presence_updates = PresenceUpdates(
            self._replica, self.hub, presence, self._subscriptions, store.database, self.committers
        )
        self._follower = LogFollower(
            store.database,
            self.followed,
            self._handler,
            bus,
            lambda: bus.is_whole(self._replica),
            self.hub.cut_gateways,
            settings.commit_log_seconds,
        )
        self._writing: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to write and to receive."""
        # The bus first: what is committed after the positions are read arrives
        await self._bus.start(self._replica, self._handler.receive, self._follower.look)
        await self._subscriptions.start()
        self.followed.begin(await self._store.database.read(read_newest))
        await self._rates.start()
        self._writing.append(asyncio.create_task(self.committers.run(), name="committers"))
        for work in (
            self._presence_updates.run(),
            self._presence_updates.keep_alive(),
            self._write_lazily(),
            self._follower.follow(),
            self._follower.trim(),
        ):
            self._spawn(work)

    async def stop(self) -> None:
        """Refuses new sends, then writes and answers those that wait. Again, it does nothing."""
        if self.committers.is_stopping:
            return
        self._presence_updates.stop()
        self._flush_lazy()
        await self.memberships.stop()
        self.committers.stop()
        await asyncio.gather(*self._writing)
        await self._rates.stop()
        await self._bus.stop(self._replica)
        await self._ordering.stop()
        await self._handler.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- use cases ----

    async def send(
        self,
        chat_id: bytes,
        sender_id: bytes,
        client_ids: Sequence[bytes],
        texts: Sequence[str],
        *,
        retry: bool,
        trace: TraceContext = NO_TRACE,
    ) -> list[StoredKey]:
        """Where the messages are, after they are on disk and on their way to members' sockets.

        A client id that was used before gives the message that has it. All are stored, next to each other,
        or none. Raises `not_found` where the sender is not a member, `rate_limited`, `overloaded`,
        `restarting`.
        """
        reply = CallReply()
        came_at = time.time_ns()

        def admit(chat: Found) -> None:
            if reply.outcome.done():
                # The caller gave up while the chat was read
                return
            if isinstance(chat, PalaverError):
                reply.refuse(chat)
                return
            send = PendingSend(chat.membership, sender_id, client_ids, texts, reply, retry, trace, came_at)
            self.admit(chat, send)

        self.memberships.for_member(chat_id, sender_id, admit)
        return await reply.outcome

    async def set_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> Receipt:
        """The member's receipt as stored, after it is on disk. Seqs that are behind do nothing, seqs beyond
        the chat's end are brought back to it. Raises `not_found` where the user is not a member."""
        if self.committers.is_stopping:
            raise PalaverError(RESTARTING, retry_after=1.0)
        outcome: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.submit_receipt(chat_id, user_id, received_seq, read_seq, outcome)
        return await outcome

    def submit_receipt(
        self,
        chat_id: bytes,
        user_id: bytes,
        received_seq: int,
        read_seq: int,
        waiter: ReceiptWaiter | None = None,
    ) -> None:
        """The same without waiting. `waiter`: gets the outcome."""
        if waiter is not None:
            self._receipt_waiters.add((chat_id, user_id), received_seq, read_seq, waiter)
        key = (chat_id, user_id)
        if self._rates.receipts.take(user_id, asyncio.get_running_loop().time()) > 0:
            # Refused, it would be lost: it is written with what comes after it
            known = self._lazy_receipts.get(key, (0, 0))
            self._lazy_receipts[key] = (max(known[0], received_seq), max(known[1], read_seq))
            return
        self.committers.submit_receipt(key, received_seq, read_seq)

    async def commit(self, change: Change[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a change returns, after its transaction is on disk. What it touched is logged and delivered,
        also where the caller gives up meanwhile. Raises what the change raises."""
        return await asyncio.shield(self._spawn(self._commit(change, args, kwargs)))

    def publish_typing(self, chat_id: bytes, user_id: bytes) -> None:
        """Tells the other members that a member is typing. Too much of it is passed over."""
        if self._rates.typings.take(user_id, asyncio.get_running_loop().time()) > 0:
            return

        def publish(chat: Found) -> None:
            if isinstance(chat, CachedChat):
                typing = Typing(chat_id, user_id)
                self._bus.publish(self._replica, None, [Published((chat_id,), typing)])
                self.hub.deliver_typing(chat.membership, user_id)

        self.memberships.for_member(chat_id, user_id, publish)

    # ---- sockets ----

    async def follow_users(self, user_ids: Iterable[bytes]) -> None:
        """On return everything that concerns these users arrives here. Before `open_socket`."""
        await self._subscriptions.add_users(user_ids)

    def open_socket(self, socket: Socket, *, new: bool) -> None:
        """Adds a socket of a user who is followed. Everything that is committed from now on reaches it."""
        self._presence_updates.open(socket, first=self.hub.add(socket), new=new)

    def close_socket(self, socket: Socket) -> None:
        """Removes a socket."""
        if self.hub.remove(socket) and not self.committers.is_stopping:
            self._presence_updates.close(socket.user_id)

    def read_members_anew(self, chat_ids: Iterable[bytes]) -> None:
        """Before somebody gets what was missed in these chats. A replica that has nobody in a chat does not
        get who leaves it."""
        for chat_id in chat_ids:
            if not self._subscriptions.is_followed(chat_id):
                self.memberships.invalidate(chat_id)

    # ---- sends on their way in ----

    def admit(self, chat: CachedChat, send: PendingSend) -> None:
        """Takes a send whose sender is a member to the committer, or answers why not."""
        chat.pending += 1
        try:
            # What is checked again was counted before
            if not send.stale:
                self._spend(send)
            self.committers.submit(send)
        except PalaverError as error:
            send.error = error
            self._answer(send, Delivery(self.followed, None))
            return
        chat.delivery.unsettled.update(send.client_ids)

    def _spend(self, send: PendingSend) -> None:
        if not (send.retry and isinstance(send.reply, GatewayReply)):
            spend(self._rates.messages, send.sender_id, "messages", len(send.texts))
            return
        # A gateway says that it sent this before: what turns out to be stored is given back, and where the
        # budget is empty nothing else is stored
        now = asyncio.get_running_loop().time()
        send.refused_for = self._rates.messages.take(send.sender_id, now, len(send.texts))

    # ---- outcomes on their way out ----

    def _committed(self, writes: Writes) -> None:
        """Answers and delivers one batch of the committer."""
        position = writes.position
        # The log's follower may have been quicker: then it delivers what is not in memory
        is_first = position is None or self.followed.note(position)
        delivery = Delivery(self.followed, position if is_first else None)
        for send in writes.sends:
            if send.stale and send.error is None:
                self._check_again(send)
                continue
            try:
                self._answer(send, delivery)
            except Exception:
                log.exception("send_not_delivered")
                delivery.abandon()
        try:
            self._receipt_waiters.answer(writes)
            self._publish(position, (*writes.appended, *writes.others))
            # Messages were delivered above, as they are in memory
            self._handler.handle(writes.others if is_first else (), delivery)
        except Exception:
            # Otherwise it would count as under way for ever, and nobody would read it from the log
            delivery.abandon()
            raise

    def _check_again(self, send: PendingSend) -> None:
        chat_id = send.membership.chat_id
        self._unpin(chat_id)
        self.memberships.invalidate(chat_id)

        def admit(chat: Found) -> None:
            if isinstance(chat, PalaverError):
                known = self.memberships.get(chat_id)
                if known is not None:
                    # Of another replica's message with this client id, its outcome would be waited for
                    known.delivery.unsettled.difference_update(send.client_ids)
                    self._ordering.go_on(known)
                send.reply.refuse(chat)
                return
            send.membership = chat.membership
            self.admit(chat, send)

        self.memberships.for_member(chat_id, send.sender_id, admit)

    def _answer(self, send: PendingSend, delivery: Delivery) -> None:
        """Answers the sender, and delivers what is new to everybody else."""
        chat = self._unpin(send.membership.chat_id)
        if chat.delivery.unsettled:
            chat.delivery.unsettled.difference_update(send.client_ids)
            self._ordering.go_on(chat)
        if send.error is not None:
            send.reply.refuse(send.error)
            return
        send.reply.store(send)
        if send.stored is not None and isinstance(send.reply, GatewayReply):
            if send.retry and not send.refused_for:
                self._rates.messages.give_back(send.sender_id, len(send.texts) - len(send.ids))
            for one in send.stored:
                # Another replica stored it; its sender must not receive it as somebody's message
                if one.id not in send.ids and one.seq > chat.delivery.delivered_seq:
                    chat.delivery.answered[one.seq] = send.reply
        if not send.ids:
            return
        if len(send.membership.members) > EXACT_ACTIVITY_MEMBERS:
            self._lazy_activity[send.membership.chat_id] = send.created_at
        self._ordering.deliver_send(chat, send, delivery)

    def _unpin(self, chat_id: bytes) -> CachedChat:
        chat = self.memberships.get(chat_id)
        assert chat is not None, "a chat stays in memory as long as it has pending sends"
        chat.pending -= 1
        return chat

    # ---- other transactions ----

    async def _commit(self, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any) -> T:
        result, events, position = await self._store.writer.commit(change, args, kwargs)
        if position is not None:
            is_first = self.followed.note(position)
            self._publish(position, events)
            if is_first:
                self._handler.handle(events, Delivery(self.followed, position))
        return result

    def _publish(self, position: Position | None, events: Sequence[Event]) -> None:
        if not self._bus.is_shared or position is None:
            return
        self._bus.publish(
            self._replica, position, [Published(self._topics_of(event), event) for event in events]
        )
        for event in events:
            if isinstance(event, PresenceChanged):
                self._spawn(self._presence_updates.unfollow_gone(event))

    def _topics_of(self, event: Event) -> Sequence[bytes]:
        match event:
            case PresenceChanged():
                return (event.user_id, *self._subscriptions.topics_of(event.user_id))
            case MembersChanged():
                return (event.chat_id, *event.user_ids)
            case _:
                return (event.chat_id,)

    # ---- what may wait ----

    async def _write_lazily(self) -> None:
        while True:
            await asyncio.sleep(LAZY_SECONDS)
            self._flush_lazy()

    def _flush_lazy(self) -> None:
        implied, self.hub.implied = self.hub.implied, {}
        for (chat_id, user_id), seq in implied.items():
            self.committers.submit_receipt((chat_id, user_id), seq, 0)
        receipts, self._lazy_receipts = self._lazy_receipts, {}
        for key, (received_seq, read_seq) in receipts.items():
            self.committers.submit_receipt(key, received_seq, read_seq)
        activity, self._lazy_activity = self._lazy_activity, {}
        if activity:
            self.committers.submit_activity(activity)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
