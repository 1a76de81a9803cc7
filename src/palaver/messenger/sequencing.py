"""Giving messages their places: what one transaction of the journal does, as pure functions.

The journal reads the chats of a batch (and locks them), `plan_append` decides, the journal writes the
plan. Nothing here knows of SQL, sockets or clocks.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.messenger.domain import Message
from palaver.messenger.realtime.memberships import Audience
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext

if TYPE_CHECKING:
    from palaver.messenger.realtime.gateway_connection import GatewayConnection

# Members' copies of a chat's activity are exact up to this many members. A larger group's are moved by the
# first message after a pause, and lag a little while one message follows the other: a thousand rows a
# message would be the most expensive part of it. Recovery after a broken stream looks back for longer.
EXACT_ACTIVITY_MEMBERS = 16
ACTIVITY_PAUSE_US = 3_000_000

Key = tuple[bytes, bytes, bytes]


@dataclass(slots=True, eq=False)
class Append:
    """One request to send, on its way through the committer. The lower fields are filled in by it.

    `retry`: it may be stored already. It came through `origin`, as its number `request` of its socket
    number `socket`; or by a unary call, which waits for `outcome`. `trace`: its request's, where that is
    sampled; then `came_at` is when the messenger heard of it, in nanoseconds since the epoch.
    """

    audience: Audience
    sender_id: bytes
    client_ids: Sequence[bytes]
    texts: Sequence[str]
    retry: bool = False
    trace_id: str = ""
    origin: "GatewayConnection | None" = None
    socket: int = 0
    request: int = 0
    outcome: "asyncio.Future[list[Message]] | None" = None
    trace: TraceContext = NO_TRACE
    came_at: int = 0

    # Of the members among whom the sender was found. The audience may be read anew, without the sender,
    # before this is written
    version: int = 0
    first_seq: int = 0
    ids: list[bytes] = field(default_factory=list)
    created_at: int = 0
    # All messages, where at least one had been stored before: they need not be consecutive
    stored: list[Message] | None = None
    error: Exception | None = None
    # The members that it was checked against have changed: check again, then append again
    stale: bool = False


class ChatRow(NamedTuple):
    """A chat as the transaction found and locked it."""

    last_seq: int
    active_at: int
    members_version: int


class MessageRow(NamedTuple):
    """A new row of `messages`, in the order of its columns."""

    chat_id: bytes
    seq: int
    id: bytes
    sender_id: bytes
    client_id: bytes
    text: str
    created_at: int
    trace_id: str


@dataclass(slots=True)
class Plan:
    """What a transaction writes."""

    messages: list[MessageRow] = field(default_factory=list)
    # chat id -> (last seq, active at)
    chats: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    # chat id -> active at, for chats whose members' copies are exact
    activity: dict[bytes, int] = field(default_factory=dict)
    # (chat id, sender id) -> seq: who writes has read
    receipts: dict[tuple[bytes, bytes], int] = field(default_factory=dict)


def suspect_keys(batch: Iterable[Append], *, all_of_them: bool) -> list[Key]:
    """The keys to look up before writing: those of retries, or all after a collision."""
    return [
        (append.audience.chat_id, append.sender_id, client_id)
        for append in batch
        if append.retry or all_of_them
        for client_id in append.client_ids
    ]


def plan_append(
    batch: Iterable[Append],
    chats: Mapping[bytes, ChatRow],
    known: Mapping[Key, Message],
    now: int,
    new_id: Callable[[], bytes],
) -> Plan:
    """Gives seqs, ids and a time to all that is new in `batch`, and fills in the outcome of each append.

    `known` are the messages that the suspect keys name already. Times never fall behind a chat's newest
    one, so that the order of seqs is the order of times, whatever clocks do.
    """
    plan = Plan()
    fresh: dict[Key, MessageRow] = {}
    for append in batch:
        audience = append.audience
        chat_id = audience.chat_id
        row = chats.get(chat_id)
        append.stale = False
        append.stored = None
        append.error = None
        if row is None:
            append.error = PalaverError(NOT_FOUND, "no such chat", field="chat_id")
            continue
        if row.members_version != append.version:
            append.stale = True
            continue
        last_seq, active_at = plan.chats.get(chat_id, row[:2])
        append.created_at = max(now, active_at)
        append.first_seq = last_seq + 1
        last_seq = place_messages(append, last_seq, known, fresh, plan.messages, new_id)
        if last_seq < append.first_seq:
            continue
        plan.chats[chat_id] = (last_seq, append.created_at)
        plan.receipts[chat_id, append.sender_id] = last_seq
        if len(audience.members) <= EXACT_ACTIVITY_MEMBERS or now - active_at > ACTIVITY_PAUSE_US:
            plan.activity[chat_id] = append.created_at
    return plan


def place_messages(
    append: Append,
    last_seq: int,
    known: Mapping[Key, Message],
    fresh: dict[Key, MessageRow],
    rows: list[MessageRow],
    new_id: Callable[[], bytes],
) -> int:
    """Adds the append's new messages to `rows`. Returns the chat's last seq after them."""
    chat_id, sender_id = append.audience.chat_id, append.sender_id
    created_at, trace_id = append.created_at, append.trace_id
    found: list[Message | MessageRow] = []
    ids = append.ids = []
    repeated = False
    for client_id, text in zip(append.client_ids, append.texts, strict=True):
        key = (chat_id, sender_id, client_id)
        message: Message | MessageRow | None = fresh.get(key) or known.get(key)
        if message is not None:
            repeated = True
            found.append(message)
            continue
        last_seq += 1
        row = MessageRow(chat_id, last_seq, new_id(), sender_id, client_id, text, created_at, trace_id)
        fresh[key] = row
        rows.append(row)
        ids.append(row.id)
        found.append(row)
    if repeated:
        append.stored = [m if isinstance(m, Message) else message_of_row(m) for m in found]
    return last_seq


def message_of_row(row: MessageRow) -> Message:
    """The message that a new row stores."""
    return Message(*row[:7], trace_id=row.trace_id)


def messages_of(append: Append) -> list[Message]:
    """All messages of an append that was written, in the order of its texts."""
    if append.stored is not None:
        return append.stored
    chat_id, sender_id, created_at = append.audience.chat_id, append.sender_id, append.created_at
    numbered = enumerate(zip(append.ids, append.client_ids, append.texts, strict=True), append.first_seq)
    return [
        Message(chat_id, seq, message_id, sender_id, client_id, text, created_at, trace_id=append.trace_id)
        for seq, (message_id, client_id, text) in numbered
    ]
