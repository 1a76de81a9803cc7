"""One messenger replica: takes sends to the journal, and tells whoever is to be told."""

import asyncio
import time
from collections.abc import Callable, Sequence

from palaver.contracts.errors import RATE_LIMITED, RESTARTING, PalaverError
from palaver.messenger.domain import Message, Receipt
from palaver.messenger.realtime.bus import (
    Bus,
    ChatChanged,
    InProcessBus,
    MessageChanged,
    NewMessages,
    ReceiptMoved,
    Signal,
    Typed,
)
from palaver.messenger.realtime.bus_handler import BusHandler
from palaver.messenger.realtime.committer import Committer
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import Audience, Audiences, no_such_chat
from palaver.messenger.realtime.ordering import OrderedDelivery
from palaver.messenger.realtime.presence import Presence
from palaver.messenger.sequencing import EXACT_ACTIVITY_MEMBERS, Append, messages_of
from palaver.messenger.store.journal import SqliteJournal, Writes
from palaver.messenger.stream.server import StreamServer
from palaver.runtime.rate_limits import TokenBuckets
from palaver.runtime.settings import MessengerSettings
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.trace_context import NO_TRACE
from palaver.runtime.telemetry.tracing import current_span
from palaver.runtime.tokens import TokenVerifier

# Receipts that old clients imply, and the activity of large groups, are written this often.
LAZY_SECONDS = 1.0


class Engine:
    """The live part of the messenger. Implements `live.Live`."""

    def __init__(
        self,
        database: Database,
        verifier: TokenVerifier,
        settings: MessengerSettings,
        bus: Bus | None = None,
    ) -> None:
        self._database = database
        self._bus = bus or InProcessBus()
        self.audiences = Audiences(database, settings.chats_cached, lambda: self._bus.alone)
        self._buckets = (
            TokenBuckets(rate=settings.messages_per_second, burst=settings.messages_burst)
            if settings.rates
            else None
        )
        self._lazy_activity: dict[bytes, int] = {}
        self._receipt_waiters: dict[tuple[bytes, bytes], list[asyncio.Future[Receipt]]] = {}
        self._lazy_writer: asyncio.Task[None] | None = None
        self.hub = Hub()
        self.committer = Committer(SqliteJournal(database), self._written, settings)
        self.teller = OrderedDelivery(self.hub, database)
        self._hearing = BusHandler(self.audiences, self.hub, self.teller, database)
        self.presence = Presence(self.hub, database, self.committer, self._say)
        self.streams = StreamServer(self, database, verifier)
        self.attach = self.streams.attach

    async def start(self) -> None:
        """Begins to write and to hear."""
        self._bus.join(self._hearing.hear)
        self.committer.start()
        self.presence.start()
        self._lazy_writer = asyncio.create_task(self._write_lazily(), name="lazy writer")

    async def stop(self) -> None:
        """Refuses new sends, writes and acknowledges those that wait, and ends the streams."""
        self._bus.leave(self._hearing.hear)
        await self.presence.stop()
        self._flush_lazy()
        await self.audiences.stop()
        await self.committer.stop()
        await self.teller.stop()
        await self._hearing.stop()
        await self.streams.stop()
        if self._lazy_writer is not None:
            self._lazy_writer.cancel()
            await asyncio.gather(self._lazy_writer, return_exceptions=True)

    # ---- what the use cases ask (live.Live) ----

    async def send(
        self,
        chat_id: bytes,
        sender_id: bytes,
        client_ids: Sequence[bytes],
        texts: Sequence[str],
        *,
        retry: bool,
        trace_id: str = "",
    ) -> list[Message]:
        """See `Live.send`."""
        outcome: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        work = current_span()
        trace = NO_TRACE if work is None else work.context
        came_at = time.time_ns()

        def admit(audience: Audience | PalaverError) -> None:
            if outcome.done():
                # The caller gave up while the chat was read
                return
            if isinstance(audience, PalaverError):
                outcome.set_exception(audience)
                return
            append = Append(audience, sender_id, client_ids, texts, retry, trace_id, outcome=outcome)
            append.trace, append.came_at = trace, came_at
            self.admit(append)

        self.audiences.for_member(chat_id, sender_id, admit)
        return await outcome

    async def set_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> Receipt:
        """See `Live.set_receipt`."""
        if self.committer.is_stopping:
            raise PalaverError(RESTARTING, retry_after=1.0)
        waiter: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._receipt_waiters.setdefault((chat_id, user_id), []).append(waiter)
        self.committer.submit_receipt((chat_id, user_id), received_seq, read_seq)
        return await waiter

    def imply_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> None:
        """See `Live.imply_receipt`."""
        self.committer.submit_receipt((chat_id, user_id), received_seq, read_seq)

    def tell_changed(self, message: Message) -> None:
        """See `Live.tell_changed`."""
        self._say(MessageChanged(message.chat_id, message.seq))
        self._hearing.tell_changed(message)

    def forget_chat(self, chat_id: bytes) -> None:
        """See `Live.forget_chat`."""
        self._say(ChatChanged(chat_id))
        self.audiences.forget(chat_id)

    def is_online(self, user_id: bytes) -> bool:
        """See `Live.is_online`."""
        return user_id in self.hub.online

    async def tell_missed(self, gateway: GatewayConnection, chat_id: bytes, messages: list[Message]) -> None:
        """Tells one gateway's sockets what they may have missed in a chat. Raises `unavailable`."""
        await self._tell(
            chat_id, lambda audience: self.hub.tell_messages(audience, messages, missed_by=gateway)
        )

    async def tell_missed_change(self, gateway: GatewayConnection, message: Message) -> None:
        """Tells one gateway's sockets of a change that they may have missed. Raises `unavailable`."""
        await self._tell(
            message.chat_id, lambda audience: self.hub.tell_changed(audience, message, missed_by=gateway)
        )

    async def _tell(self, chat_id: bytes, tell: Callable[[Audience], None]) -> None:
        """Tells at once when the members are known: later some may have left."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take(found: Audience | PalaverError) -> None:
            if told.done():
                return
            if isinstance(found, Audience):
                tell(found)
                told.set_result(None)
            else:
                told.set_exception(found)

        self.audiences.for_chat(chat_id, take)
        await told

    def tell_typing(self, chat_id: bytes, user_id: bytes) -> None:
        """Tells the other members that a member is typing."""

        def tell(audience: Audience | PalaverError) -> None:
            if isinstance(audience, Audience):
                self._say(Typed(chat_id, user_id))
                self.hub.tell_typing(audience, user_id)

        self.audiences.for_member(chat_id, user_id, tell)

    # ---- sends on their way in ----

    def admit(self, append: Append) -> None:
        """Takes an append whose sender is a member to the committer, or answers why not."""
        try:
            # What a gateway sends again, or is checked again, was counted before
            again = append.stale or (append.retry and append.origin is not None)
            if self._buckets is not None and not again:
                self._spend(append)
            self.committer.submit(append)
        except PalaverError as error:
            append.error = error
            self._answer(append)
            return
        if not self._bus.alone:
            append.audience.unsettled.update(append.client_ids)

    def _spend(self, append: Append) -> None:
        assert self._buckets is not None
        now = asyncio.get_running_loop().time()
        wait = self._buckets.take(append.sender_id, now, len(append.texts))
        if wait > 0:
            raise PalaverError(RATE_LIMITED, "too many messages", retry_after=wait)

    # ---- outcomes on their way out ----

    def _written(self, writes: Writes) -> None:
        for append in writes.appends:
            if append.stale and append.error is None:
                self.audiences.forget(append.audience.chat_id)
                self._check_again(append)
                continue
            self._answer(append)
        self._receipts_written(writes)

    def _check_again(self, append: Append) -> None:
        def admit(audience: Audience | PalaverError) -> None:
            if isinstance(audience, PalaverError):
                append.error = audience
                self._answer(append)
                return
            append.audience = audience
            self.admit(append)

        self.audiences.for_member(append.audience.chat_id, append.sender_id, admit)

    def _answer(self, append: Append) -> None:
        """Tells the sender of the outcome, and, where there are new messages, everybody of them."""
        audience = append.audience
        if audience.unsettled:
            audience.unsettled.difference_update(append.client_ids)
            self.teller.go_on(audience)
        if append.error is not None:
            self._refuse(append, append.error)
            return
        if append.stored is not None and append.origin is not None:
            self._answer_stored(append, append.stored)
        if append.outcome is not None and not append.outcome.done():
            append.outcome.set_result(messages_of(append))
        if not append.ids:
            return
        self._note_activity(append)
        self.teller.tell_append(append)
        if not self._bus.alone:
            last_seq = append.first_seq + len(append.ids) - 1
            self._say(NewMessages(audience.chat_id, append.first_seq, last_seq, audience.version))

    def _refuse(self, append: Append, error: Exception) -> None:
        if append.origin is not None:
            append.origin.refuse_send(append.request, error)
        elif append.outcome is not None and not append.outcome.done():
            append.outcome.set_exception(error)

    def _answer_stored(self, append: Append, stored: list[Message]) -> None:
        assert append.origin is not None
        append.origin.outbox.sent.add(
            request=append.request,
            seqs=[message.seq for message in stored],
            ids=[message.id for message in stored],
            created_at=[message.created_at for message in stored],
        )
        append.origin.wake()

    def _note_activity(self, append: Append) -> None:
        if len(append.audience.members) > EXACT_ACTIVITY_MEMBERS:
            self._lazy_activity[append.audience.chat_id] = append.created_at

    def _receipts_written(self, writes: Writes) -> None:
        for key in writes.receipts:
            now = writes.receipts_now.get(key)
            for waiter in self._receipt_waiters.pop(key, ()):
                if waiter.done():
                    continue
                if now is None:
                    waiter.set_exception(writes.error or no_such_chat())
                else:
                    waiter.set_result(Receipt(key[1], now[0], now[1]))
            if now is not None and now[2]:
                self._tell_receipt(ReceiptMoved(key[0], key[1], now[0], now[1]))

    def _tell_receipt(self, moved: ReceiptMoved) -> None:
        self._say(moved)
        self._hearing.tell_receipt(moved)

    # ---- the bus ----

    def _say(self, signal: Signal) -> None:
        if not self._bus.alone:
            self._bus.say(signal, self._hearing.hear)

    # ---- what may wait ----

    async def _write_lazily(self) -> None:
        while True:
            await asyncio.sleep(LAZY_SECONDS)
            self._flush_lazy()

    def _flush_lazy(self) -> None:
        implied, self.hub.implied = self.hub.implied, {}
        for (chat_id, user_id), seq in implied.items():
            self.imply_receipt(chat_id, user_id, seq, 0)
        activity, self._lazy_activity = self._lazy_activity, {}
        if activity:
            self.committer.submit_activity(activity)
