"""What a gateway missed while it had no stream, from the commit log."""

import asyncio
from collections.abc import Mapping, Sequence

from palaver.messenger.events import (
    Commit,
    Event,
    MembersChanged,
    MessageChanged,
    MessagesAppended,
    Position,
    PresenceChanged,
    ReceiptMoved,
)
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.realtime.memberships import CachedChat
from palaver.messenger.store.commit_log import LogTrimmedError, read_after, read_newest
from palaver.messenger.store.members import MOST_COMPANIONS, read_companions
from palaver.messenger.store.opening import Store
from palaver.runtime.telemetry.configuration import log

# Rows of the log that are read, and delivered, at once.
COMMITS_AT_ONCE = 500


async def catch_up(
    gateway: GatewayConnection, followed: Mapping[int, int], store: Store, engine: Engine
) -> None:
    """Delivers to a gateway's sockets what was committed behind `followed`, then what was held back
    meanwhile.

    Where the log no longer has all of it, the gateway sends its sockets away to resume. Raises what the
    database raises: the stream must end then, so that the gateway comes back for all that it missed.
    """
    vector = dict(followed)
    # What comes behind it is held back for this gateway, and need not be read
    until = engine.followed.known
    try:
        while commits := await store.database.read(read_after, vector, COMMITS_AT_ONCE):
            await deliver_commits(gateway, commits, store, engine)
            for writer, number in (commit.position for commit in commits):
                vector[writer] = max(vector.get(writer, 0), number)
            if all(vector.get(writer, 0) >= number for writer, number in until.items()):
                break
    except LogTrimmedError:
        log.warning("gateway_too_far_behind")
        gateway.outbox.log_trimmed = True
    # Of what was delivered just now this replica may know nothing yet: it will deliver it live, once more.
    # Until then no batch is settled, and the gateway remembers what it had
    engine.followed.expect(await store.database.read(read_newest))
    gateway.release_deliveries()


async def reach(followed: Mapping[int, int], store: Store, engine: Engine) -> None:
    """Waits until this replica has delivered what the gateway has followed, maybe by another replica: to the
    gateway's sockets it would come a second time. Raises what the database raises."""
    if any(number > engine.followed.vector.get(writer, 0) for writer, number in followed.items()):
        newest = await store.database.read(read_newest)
        # A log that was put back to an older state never gets there; see `catch_up`
        await engine.followed.reached(
            {writer: min(number, newest.get(writer, 0)) for writer, number in followed.items()}
        )


class Missed:
    """What some transactions touched, in the order in which it is delivered: messages first, then the last
    state of all else."""

    def __init__(self, commits: Sequence[Commit]) -> None:
        self.appended: dict[bytes, list[tuple[MessagesAppended, Position]]] = {}
        self.changed: dict[tuple[bytes, int], MessageChanged] = {}
        self.receipts: dict[tuple[bytes, bytes], ReceiptMoved] = {}
        self.presences: dict[bytes, PresenceChanged] = {}
        self.members: set[bytes] = set()
        for commit in commits:
            for entry in commit.entries:
                self._add(entry, commit.position)

    def _add(self, entry: Event, position: Position) -> None:
        match entry:
            case MessagesAppended():
                self.appended.setdefault(entry.chat_id, []).append((entry, position))
            case MessageChanged():
                self.changed[entry.chat_id, entry.seq] = entry
            case ReceiptMoved():
                self.receipts[entry.chat_id, entry.user_id] = entry
            case PresenceChanged():
                self.presences[entry.user_id] = entry
            case MembersChanged():
                self.members.add(entry.chat_id)


async def deliver_commits(
    gateway: GatewayConnection, commits: Sequence[Commit], store: Store, engine: Engine
) -> None:
    """Delivers what some transactions touched, as it is now."""
    missed = Missed(commits)
    for chat_id in missed.members:
        engine.memberships.invalidate(chat_id)
    touched = {*missed.appended, *(chat_id for chat_id, _ in (*missed.changed, *missed.receipts))}
    engine.read_members_anew(touched)
    # All in one read: a replica that a gateway has just come to has none of them in memory
    await asyncio.gather(*map(engine.memberships.chat, touched))
    for chat_id, ranges in missed.appended.items():
        chat = await chat_of(gateway, chat_id, engine)
        if chat is not None:
            await deliver_messages(gateway, chat, ranges, store, engine)
    for chat_id, seq in missed.changed:
        chat = await chat_of(gateway, chat_id, engine)
        if chat is not None and (found := await store.messages.at([(chat_id, seq)])):
            engine.hub.deliver_change(chat.membership, found[chat_id, seq], only=gateway)
    for moved in missed.receipts.values():
        chat = await chat_of(gateway, moved.chat_id, engine)
        if chat is not None:
            engine.hub.deliver_receipt(chat.membership, moved, only=gateway)
    for presence in missed.presences.values():
        companions = await store.database.read(read_companions, presence.user_id, MOST_COMPANIONS)
        engine.hub.deliver_presence(presence, companions, only=gateway)
    await gateway.room()


async def chat_of(gateway: GatewayConnection, chat_id: bytes, engine: Engine) -> CachedChat | None:
    """A chat, where one of the gateway's users is a member. Raises `unavailable`."""
    chat = await engine.memberships.chat(chat_id)
    if chat is None:
        return None
    online = engine.hub.online
    for user_id in chat.membership.members:
        if any(socket.gateway is gateway for socket in online.get(user_id, ())):
            return chat
    return None


async def deliver_messages(
    gateway: GatewayConnection,
    chat: CachedChat,
    ranges: Sequence[tuple[MessagesAppended, Position]],
    store: Store,
    engine: Engine,
) -> None:
    """Delivers one chat's messages with the positions of the transactions that wrote them."""
    positions = sorted((entry.last_seq, position) for entry, position in ranges)
    after, until = ranges[0][0].first_seq - 1, ranges[-1][0].last_seq
    while after < until:
        page = await store.messages.after(chat.membership.chat_id, after, until)
        if not page:
            return
        for message in page:
            position = next(position for last_seq, position in positions if message.seq <= last_seq)
            engine.hub.deliver_stored(chat.membership, message, only=gateway, commit=position)
        after = page[-1].seq
        await gateway.room()
