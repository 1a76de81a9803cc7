"""What other replicas say on the bus, on its way to the sockets of this one."""

import asyncio

from palaver.messenger.domain import Message
from palaver.messenger.realtime.bus import (
    CameOrWent,
    ChatChanged,
    MessageChanged,
    NewMessages,
    ReceiptMoved,
    Signal,
    Typed,
)
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import Audiences
from palaver.messenger.realtime.ordering import OrderedDelivery
from palaver.messenger.store.missed import read_after
from palaver.runtime.sql.database import Database


class BusHandler:
    """Tells the hub's sockets what is heard. A replica tells its own changes and receipts by it too."""

    def __init__(self, audiences: Audiences, hub: Hub, teller: OrderedDelivery, database: Database) -> None:
        self._audiences = audiences
        self._hub = hub
        self._teller = teller
        self._database = database
        self._reads: set[asyncio.Task[None]] = set()

    def hear(self, signal: Signal) -> None:
        """Takes what another replica says."""
        match signal:
            case NewMessages():
                self._hear_new(signal)
            case MessageChanged():
                read = asyncio.create_task(self._hear_changed(signal))
                self._reads.add(read)
                read.add_done_callback(self._reads.discard)
            case ReceiptMoved():
                self.tell_receipt(signal)
            case Typed(chat_id, user_id):
                self._audiences.for_telling(chat_id, lambda found: self._hub.tell_typing(found, user_id))
            case CameOrWent(user_id, online, last_seen_at, companions):
                self._hub.tell_presence(user_id, online, last_seen_at, companions)
            case ChatChanged(chat_id):
                self._audiences.forget(chat_id)

    def tell_changed(self, message: Message) -> None:
        """Tells members that a message was edited or deleted."""
        self._audiences.for_telling(
            message.chat_id, lambda audience: self._hub.tell_changed(audience, message)
        )

    def tell_receipt(self, moved: ReceiptMoved) -> None:
        """Tells members how far one of them has received and read."""
        self._audiences.for_telling(
            moved.chat_id,
            lambda audience: self._hub.tell_receipt(
                audience, moved.user_id, moved.received_seq, moved.read_seq
            ),
        )

    async def stop(self) -> None:
        """Gives up what is being read."""
        for read in self._reads:
            read.cancel()
        await asyncio.gather(*self._reads, return_exceptions=True)

    def _hear_new(self, news: NewMessages) -> None:
        audience = self._audiences.get(news.chat_id)
        if audience is not None and audience.version < news.members_version:
            # Somebody who left must not hear what was said after that
            self._audiences.forget(news.chat_id)
        self._audiences.for_telling(news.chat_id, lambda found: self._teller.hear_new(found, news))

    async def _hear_changed(self, changed: MessageChanged) -> None:
        for message in await self._database.read(read_after, changed.chat_id, changed.seq - 1, changed.seq):
            self.tell_changed(message)
