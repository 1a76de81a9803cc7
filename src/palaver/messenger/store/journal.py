"""The journal: the ordered, durable log that every message enters before anybody receives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from palaver.contracts.errors import PalaverError
from palaver.messenger.events import Event, Position
from palaver.messenger.pending_send import PendingSend

ReceiptKey = tuple[bytes, bytes]


class StoredReceipt(NamedTuple):
    """A member's receipt after a transaction, and whether that moved it."""

    received_seq: int
    read_seq: int
    moved: bool


@dataclass(slots=True)
class Writes:
    """What one transaction is to write.

    `receipts`: (chat id, user id) -> (received seq, read seq). `activity`: chat id -> time, for members'
    copies that lag. `presence`: user id -> (online, time last seen). Filled in by the journal: `position` of
    the transaction in the commit log, where it touched anything; its entries there, `appended` for messages
    and `others`; `stored_receipts`, of those of `receipts` whose user is a member; `busy`, chats that
    somebody else holds, of which nothing was written; `error`, where nothing is known to be written.
    """

    sends: Sequence[PendingSend] = ()
    receipts: Mapping[ReceiptKey, tuple[int, int]] = field(default_factory=dict)
    activity: Mapping[bytes, int] = field(default_factory=dict)
    presence: Mapping[bytes, tuple[bool, int]] = field(default_factory=dict)

    position: Position | None = None
    appended: Sequence[Event] = ()
    others: Sequence[Event] = ()
    stored_receipts: dict[ReceiptKey, StoredReceipt] = field(default_factory=dict)
    busy: frozenset[bytes] = frozenset()
    error: PalaverError | None = None


class KeyCollisionError(Exception):
    """A client id was used before in a send that did not say `retry`."""


def moved_receipt(stored: tuple[int, int], wanted: tuple[int, int], last_seq: int) -> StoredReceipt:
    """A receipt (received seq, read seq) moved forward to what is wanted, and not beyond the chat's end."""
    read = max(stored[1], min(wanted[1], last_seq))
    received = max(stored[0], read, min(wanted[0], last_seq))
    return StoredReceipt(received, read, (received, read) != stored)


class Journal(Protocol):
    """Writes batches. Everything else of the database is read and written by plain statements."""

    async def write(self, writes: Writes) -> None:
        """Writes all of `writes` in one transaction, and fills in the outcome of each send.

        On return it is on disk. A send that the database does not take gets its error, and the others are
        written. Raises what the database raises where it takes nothing at all.
        """
        ...
