"""Moving one block of rows to one shard: insert, read back and count, then record."""

from collections.abc import Sequence

from palaver.messenger.archive import statements
from palaver.messenger.archive.journal_rows import (
    ChangedRow,
    JournalRow,
    record_changed,
    record_rows,
)
from palaver.messenger.archive.nodes import Address, ArchiveNodes, NodeError
from palaver.messenger.archive.rows import digest, to_row
from palaver.messenger.domain import Message
from palaver.messenger.store.leases import Lease
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

# Places that one statement names
CHECKED_AT_ONCE = 10_000
_COUNTER_BITS = 32


class NotStoredError(NodeError):
    """What was read back is not what was inserted."""


class BlockWriter:
    """Writes blocks as the holder of a lease. Each block has a version of its own, greater than those of the
    holder's earlier blocks and of earlier holders: a row that is inserted again replaces the earlier one, and
    a holder who wakes up too late replaces nothing."""

    def __init__(self, database: Database, nodes: ArchiveNodes, archive_database: str, lease: Lease) -> None:
        self._database = database
        self._nodes = nodes
        self._name = archive_database
        self._lease = lease
        self._blocks = 0

    async def write_new(self, shard_id: int, address: Address, rows: Sequence[JournalRow]) -> None:
        """Archives rows that follow what is archived of their chats.

        Raises `NodeError` where the shard does not have them for certain, `LeaseLostError`, and
        `SegmentGapError`.
        """
        await self._insert(address, [row.message for row in rows])
        await self._database.write(record_rows, self._lease, shard_id, rows)

    async def write_changed(self, address: Address, rows: Sequence[ChangedRow]) -> None:
        """Archives changes of archived rows. Raises as `write_new` does."""
        await self._insert(address, [changed.row.message for changed in rows])
        await self._database.write(record_changed, self._lease, rows)

    async def _insert(self, address: Address, messages: Sequence[Message]) -> None:
        self._blocks += 1
        version = (self._lease.token << _COUNTER_BITS) + self._blocks
        rows = [to_row(message, version) for message in messages]
        await self._nodes.insert(address, statements.insert_messages(self._name), rows)
        for start in range(0, len(messages), CHECKED_AT_ONCE):
            await self._check(address, messages[start : start + CHECKED_AT_ONCE], version)

    async def _check(self, address: Address, messages: Sequence[Message], version: int) -> None:
        places = [(message.chat_id, message.seq) for message in messages]
        statement = statements.select_checksum(self._name, places, version)
        ((count, found),) = await self._nodes.select(address, statement)
        if (count, found) == (len(messages), digest(messages)):
            return
        newest = await self._nodes.select(address, statements.select_newest_version(self._name, places))
        log.error("block_not_stored", node=str(address), rows=len(messages), found=count)
        if newest and newest[0][0] > version:
            # The database was put back to an older state than the archive: versions must begin above it
            self._blocks += newest[0][0] - version
        raise NotStoredError(f"{address}: {count} of {len(messages)} rows are as they were inserted")
