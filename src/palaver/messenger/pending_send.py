"""A request to send, from its arrival to its answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from palaver.messenger.domain import Membership
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext


class StoredKey(NamedTuple):
    """What is known of a message by its client id, for ever: also where it is archived or deleted."""

    seq: int
    id: bytes
    created_at: int


class Reply(Protocol):
    """How the sender gets the answer."""

    def store(self, send: "PendingSend") -> None:
        """Everything is on disk, some of it maybe since an earlier request."""
        ...

    def refuse(self, error: Exception) -> None:
        """Nothing was stored."""
        ...


@dataclass(slots=True, eq=False)
class PendingSend:
    """One request to send. The journal fills in the lower fields.

    `membership`: the members among whom the sender was found. `retry`: it may be stored already. `trace`:
    its request's. `refused_for`: where a message of it is not stored already it is refused for so many
    seconds, since the sender's rate is used up. `came_at`, where that is sampled: its arrival, in
    nanoseconds since the epoch.
    """

    membership: Membership
    sender_id: bytes
    client_ids: Sequence[bytes]
    texts: Sequence[str]
    reply: Reply
    retry: bool = False
    trace: TraceContext = NO_TRACE
    came_at: int = 0
    refused_for: float = 0.0

    # Seq, ids and time of what is new; `ids` is empty where nothing is
    first_seq: int = 0
    ids: list[bytes] = field(default_factory=list)
    created_at: int = 0
    # One for each client id, where at least one had been stored before: they need not be consecutive
    stored: list[StoredKey] | None = None
    error: Exception | None = None
    # The members that it was checked against have changed: check again, then append again
    stale: bool = False

    @property
    def last_seq(self) -> int:
        """The seq of the last new message."""
        return self.first_seq + len(self.ids) - 1


def stored_keys(send: PendingSend) -> list[StoredKey]:
    """Where each of a written send's messages is, in the order of its texts."""
    if send.stored is not None:
        return send.stored
    return [StoredKey(seq, one, send.created_at) for seq, one in enumerate(send.ids, send.first_seq)]


def new_texts(send: PendingSend) -> list[tuple[bytes, str]]:
    """Client id and text of each new message, in the order of `ids`."""
    pairs = list(zip(send.client_ids, send.texts, strict=True))
    if send.stored is None:
        return pairs
    # By id, since a request may name one client id twice
    by_id = {stored.id: pair for stored, pair in reversed(list(zip(send.stored, pairs, strict=True)))}
    return [by_id[one] for one in send.ids]


class CallReply:
    """Answers one send of a unary call, which waits for `outcome`."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: asyncio.Future[list[StoredKey]] = asyncio.get_running_loop().create_future()

    def store(self, send: PendingSend) -> None:
        """See `Reply.store`."""
        if not self.outcome.done():
            self.outcome.set_result(stored_keys(send))

    def refuse(self, error: Exception) -> None:
        """See `Reply.refuse`."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
