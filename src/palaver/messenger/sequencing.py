"""Places of new messages: what one transaction of the journal does to its chats, as pure functions.

The journal reads the chats of a batch (and locks them), `plan_batch` decides, the journal writes the plan.
Nothing here knows of SQL, sockets or clocks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from palaver.contracts.errors import RATE_LIMITED, PalaverError
from palaver.messenger.domain import Message, no_such_chat
from palaver.messenger.events import MessagesAppended
from palaver.messenger.pending_send import PendingSend, StoredKey

# Members' copies of a chat's activity, which lists are sorted by, are exact up to this many members. A larger
# group's are moved by the first message after a pause, and lag a little while one message follows the other:
# a thousand rows a message would be the most expensive part of it.
EXACT_ACTIVITY_MEMBERS = 16
ACTIVITY_PAUSE_US = 3_000_000

Key = tuple[bytes, bytes, bytes]


class ChatRow(NamedTuple):
    """A chat as the transaction found and locked it."""

    last_seq: int
    active_at: int
    members_version: int


@dataclass(slots=True)
class Plan:
    """What a transaction writes."""

    messages: list[Message] = field(default_factory=list)
    # chat id -> (last seq, active at)
    chats: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    # chat id -> active at, for chats whose members' copies are exact
    activity: dict[bytes, int] = field(default_factory=dict)
    # (chat id, sender id) -> seq: who writes has read
    receipts: dict[tuple[bytes, bytes], int] = field(default_factory=dict)


def suspect_keys(batch: Iterable[PendingSend], *, all_of_them: bool) -> list[Key]:
    """The keys to look up before writing: those of retries, or all after a collision."""
    return [
        (send.membership.chat_id, send.sender_id, client_id)
        for send in batch
        if send.retry or all_of_them
        for client_id in send.client_ids
    ]


def plan_batch(
    batch: Iterable[PendingSend],
    chats: Mapping[bytes, ChatRow],
    known: Mapping[Key, StoredKey],
    now: int,
    new_id: Callable[[], bytes],
) -> Plan:
    """Gives seqs, ids and a time to all that is new in `batch`, and fills in the outcome of each send.

    `known`: what the suspect keys name already. Times never fall behind a chat's newest one, so that the
    order of seqs is the order of times, whatever clocks do.
    """
    plan = Plan()
    fresh: dict[Key, Message] = {}
    for send in batch:
        membership = send.membership
        chat_id = membership.chat_id
        row = chats.get(chat_id)
        send.stale = False
        send.stored = None
        send.error = None
        if row is None:
            send.error = no_such_chat()
            continue
        if row.members_version != membership.version:
            send.stale = True
            continue
        if send.retry and send.refused_for and not is_known(send, known, fresh):
            send.error = PalaverError(RATE_LIMITED, "too many messages", retry_after=send.refused_for)
            continue
        last_seq, active_at = plan.chats.get(chat_id, row[:2])
        send.created_at = max(now, active_at)
        send.first_seq = last_seq + 1
        last_seq = place_messages(send, last_seq, known, fresh, plan.messages, new_id)
        if last_seq < send.first_seq:
            continue
        plan.chats[chat_id] = (last_seq, send.created_at)
        plan.receipts[chat_id, send.sender_id] = last_seq
        if len(membership.members) <= EXACT_ACTIVITY_MEMBERS or now - active_at > ACTIVITY_PAUSE_US:
            plan.activity[chat_id] = send.created_at
    return plan


def is_known(send: PendingSend, known: Mapping[Key, StoredKey], fresh: Mapping[Key, Message]) -> bool:
    """Whether all of a send's messages are stored already, or by a send before it."""
    keys = [(send.membership.chat_id, send.sender_id, client_id) for client_id in send.client_ids]
    return all(key in known or key in fresh for key in keys)


def place_messages(
    send: PendingSend,
    last_seq: int,
    known: Mapping[Key, StoredKey],
    fresh: dict[Key, Message],
    messages: list[Message],
    new_id: Callable[[], bytes],
) -> int:
    """Adds the send's new messages to `messages`. Returns the chat's last seq after them."""
    chat_id, sender_id = send.membership.chat_id, send.sender_id
    created_at, trace_id = send.created_at, send.trace.trace_id
    found: list[StoredKey | Message] = []
    ids = send.ids = []
    repeated = False
    for client_id, text in zip(send.client_ids, send.texts, strict=True):
        key = (chat_id, sender_id, client_id)
        stored: StoredKey | Message | None = fresh.get(key) or known.get(key)
        if stored is not None:
            repeated = True
            found.append(stored)
            continue
        last_seq += 1
        message = Message(chat_id, last_seq, new_id(), sender_id, client_id, text, created_at, trace_id)
        fresh[key] = message
        messages.append(message)
        ids.append(message.id)
        found.append(message)
    if repeated:
        send.stored = [StoredKey(one.seq, one.id, one.created_at) for one in found]
    return last_seq


def appended_of(plan: Plan, chats: Mapping[bytes, ChatRow]) -> list[MessagesAppended]:
    """The entries of the commit log for a plan's new messages, one a chat."""
    return [
        MessagesAppended(chat_id, chats[chat_id].last_seq + 1, last_seq, chats[chat_id].members_version)
        for chat_id, (last_seq, _) in plan.chats.items()
    ]
