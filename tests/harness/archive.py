"""A journal with an archive behind it: chats to fill, an archiver to run a step at a time, and the reader."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from palaver.contracts.ids import new_id
from palaver.messenger.archive.archiver import Archiver
from palaver.messenger.archive.clickhouse import Access, ClickHouseNodes
from palaver.messenger.archive.message_reader import ArchivedMessageReader
from palaver.messenger.archive.nodes import Address, ArchiveNodes
from palaver.messenger.archive.topology import ArchiveAddress
from palaver.messenger.archive.trimming import Margin
from palaver.messenger.domain import Message
from palaver.messenger.events import MessageChanged, MessagesAppended
from palaver.messenger.store.commit_log import append_commit
from palaver.messenger.store.leases import ARCHIVER, Lease, take_lease
from palaver.messenger.store.messages import MessageReader, delete_message, edit_message
from palaver.messenger.store.schema import archive_positions, chats, leases, messages
from palaver.runtime.sql.database import Database
from tests.harness.clickhouse import CLUSTER, PASSWORD, USER, ClickHouseCluster
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.waiting import WAIT_SECONDS

# Nothing is kept for its age
NO_MARGIN = Margin(1, 0.0)


@dataclass
class Archive:
    """One journal, the nodes of its archive, and a reader over both."""

    messenger_db: MessengerDatabase
    database: Database
    nodes: ArchiveNodes
    address: ArchiveAddress

    @property
    def reader(self) -> ArchivedMessageReader:
        """A reader over both."""
        return ArchivedMessageReader(self.database, self.nodes, self.address.database)

    def send(self, chat_id: bytes, sender_id: bytes, texts: Sequence[str], now: int = 100) -> None:
        """Appends messages, and their entry to the commit log."""
        self.messenger_db.write(append, chat_id, sender_id, texts, now)

    def edit(self, *args: Any) -> None:
        """See `messages.edit_message`."""
        self.messenger_db.write(change, edit_message, *args)

    def delete(self, *args: Any) -> None:
        """See `messages.delete_message`."""
        self.messenger_db.write(change, delete_message, *args)

    async def change_archived(
        self, make: Callable[..., Any], chat_id: bytes, user_id: bytes, seq: int, *args: Any
    ) -> Any:
        """Edits or deletes a message that has left the journal, as the use cases do."""
        found = await self.reader.archived(chat_id, seq)
        assert found is not None
        return self.messenger_db.write(change, make, chat_id, user_id, seq, *args, found)

    def journal(self, chat_id: bytes) -> list[int]:
        """The seqs of a chat that the journal has."""
        seqs: list[int] = self.messenger_db.write(journal_seqs, chat_id)
        return seqs

    async def history(self, chat_id: bytes, reader: MessageReader | None = None) -> list[Message]:
        """All messages of a chat, page after page."""
        found: list[Message] = []
        while page := await (reader or self.reader).after(chat_id, found[-1].seq if found else 0, 2**40):
            found += page
        return found

    async def lease(self) -> Lease:
        """The archiver's lease, taken from whoever has it."""
        await self.database.write(expire_leases)
        lease = await self.database.write(take_lease, ARCHIVER, new_id(), 600.0)
        assert lease is not None
        return lease

    async def archiver(self, margin: Margin = NO_MARGIN) -> Archiver:
        """An archiver that holds the lease, before its first step."""
        return Archiver(self.database, self.nodes, self.address, margin, await self.lease(), 0.0)

    async def archive_all(self, margin: Margin = NO_MARGIN) -> None:
        """Moves all that is committed, then trims what the margin does not keep."""
        # Some tests write no commit log
        await self.database.write(forget_positions)
        archiver = await self.archiver(margin)
        await archiver.begin()
        await settle(archiver)


@contextlib.asynccontextmanager
async def running_archive(
    messenger_db: MessengerDatabase, cluster: ClickHouseCluster, answer_seconds: float = 5.0
) -> AsyncIterator[Archive]:
    """A journal and a cluster, on a database of the test's own, for the block."""
    nodes = ClickHouseNodes(Access(USER, PASSWORD), 4, answer_seconds)
    address = ArchiveAddress(Address("127.0.0.1", cluster.node.port), cluster.new_database(), CLUSTER)
    try:
        async with archive_on(messenger_db, nodes, address) as archive:
            yield archive
    finally:
        await nodes.close()


@contextlib.asynccontextmanager
async def archive_on(
    messenger_db: MessengerDatabase, nodes: ArchiveNodes, address: ArchiveAddress
) -> AsyncIterator[Archive]:
    """A journal whose archive is on any nodes, for the block."""
    database = messenger_db.open_database()
    try:
        yield Archive(messenger_db, database, nodes, address)
    finally:
        await database.close()


def append(connection: Connection, chat_id: bytes, sender_id: bytes, texts: Sequence[str], now: int) -> None:
    """One transaction of the journal: messages and their entry of the commit log."""
    last_seq = select(chats.c.last_seq).where(chats.c.id == chat_id)
    first = connection.execute(last_seq).scalar_one() + 1
    write_messages(connection, chat_id, sender_id, texts, now)
    append_commit(connection, [MessagesAppended(chat_id, first, first + len(texts) - 1, 1)])


def change(
    connection: Connection, make: Callable[..., Any], chat_id: bytes, user_id: bytes, seq: int, *args: Any
) -> Any:
    """One transaction that edits or deletes a message."""
    made = make(connection, chat_id, user_id, seq, *args)
    append_commit(connection, [MessageChanged(chat_id, seq)])
    return made


def expire_leases(connection: Connection) -> None:
    """As if all holders had been away for long."""
    connection.execute(update(leases).values(expires_at=0))


def forget_positions(connection: Connection) -> None:
    """As if no archiver had been there yet."""
    connection.execute(delete(archive_positions))


def journal_seqs(connection: Connection, chat_id: bytes) -> list[int]:
    """The seqs of a chat that the journal has."""
    query = select(messages.c.seq).where(messages.c.chat_id == chat_id).order_by(messages.c.seq)
    return list(connection.execute(query).scalars())


async def settle(archiver: Archiver) -> None:
    """Steps until nothing is left to archive or to trim."""
    async with asyncio.timeout(WAIT_SECONDS):
        await archiver.step()
        while not archiver.is_idle():
            await archiver.wait(0.01)
            await archiver.step()
        await archiver.step()
