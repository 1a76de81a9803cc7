"""Resume: telling one socket, or one gateway, what it missed, from the store."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.messenger.realtime.gateway_connection import GatewayConnection, Socket
from palaver.messenger.realtime.hub import add_delivery
from palaver.messenger.realtime.memberships import no_such_chat
from palaver.messenger.store.missed import (
    read_active_chats,
    read_changed_since,
    read_readable_page,
    read_since,
)
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

if TYPE_CHECKING:
    from palaver.messenger.realtime.engine import Engine

# A socket that does not take a page of its resume for so long is given up; its gateway cuts it off.
DRAIN_SECONDS = 60.0
# Above every seq: all live messages are passed over.
EVERYTHING = 2**62
# A message that is in the journal is told within this time.
FLOOR_SECONDS = 60.0
# Users, and chats, read in one transaction after a broken stream.
USERS_AT_ONCE = 500
CHATS_AT_ONCE = 100


def hold_back(socket: Socket, cursors: dict[bytes, int]) -> None:
    """From now on the chats' messages are not told to the socket live. Call it in the turn of the event
    loop in which the resume was asked for: a message told live after that would be told twice."""
    socket.resuming = True
    # What an earlier resume has read of other chats may be about to be told live
    socket.floors = {**(socket.floors or {}), **dict.fromkeys(cursors, EVERYTHING)}
    socket.held_back.clear()


async def resume(socket: Socket, cursors: dict[bytes, int], database: Database) -> None:
    """Tells a socket all that came behind its cursors, then that this was all.

    Since `hold_back` new messages of those chats are not told to it live, but read from the journal in
    their turn: it gets each once, and in order.
    """
    gateway = socket.gateway
    try:
        for chat_id, after in cursors.items():
            await resume_chat(socket, chat_id, after, database)
    except Exception as error:
        log.exception("resume failed")
        # Of the chats that are left the socket is told live again, behind a hole that its client sees
        socket.floors = None
        gateway.refuse_frame(socket.number, b"", PalaverError(UNAVAILABLE, cause=repr(error)))
    finally:
        socket.resuming = False
        gateway.drained.pop(socket.number, None)
        asyncio.get_running_loop().call_later(FLOOR_SECONDS, forget_floors, socket)
    gateway.outbox.resumed.append(socket.number)
    gateway.wake()


async def resume_chat(socket: Socket, chat_id: bytes, after: int, database: Database) -> None:
    """Tells a socket what came behind `after` in one chat, until it has caught up with live messages."""
    assert socket.floors is not None
    gateway = socket.gateway
    while socket.number in gateway.sockets:
        # Many who come back at once would fill the outbox
        await gateway.room()
        held_before = socket.held_back.get(chat_id, 0)
        found = await database.read(read_readable_page, chat_id, socket.user_id, after)
        if found is None:
            gateway.refuse_frame(socket.number, chat_id, no_such_chat())
            del socket.floors[chat_id]
            return
        page, until = found
        # A cursor beyond the end would keep live messages back
        after = min(after, until)
        for message in page:
            add_delivery(gateway, message, [socket.number], resumed=True)
            after = message.seq
        held = socket.held_back.get(chat_id, 0)
        if after >= max(until, held):
            break
        if not page and held == held_before:
            # Held back before this was read, and still not found: the user may not read it any more
            break
        await wait_until_drained(socket)
    # From here on its messages are told live again, but for those that were read already and are about to
    # be told. Nothing was awaited since the check above: no message can fall between the two.
    socket.floors[chat_id] = after
    socket.held_back.pop(chat_id, None)


def forget_floors(socket: Socket) -> None:
    """What was read by the last resume has long been told live too."""
    if not socket.resuming:
        socket.floors = None


async def wait_until_drained(socket: Socket) -> None:
    """Waits until the gateway has written out what was told to the socket: it may read slowly."""
    event = socket.gateway.drained.setdefault(socket.number, asyncio.Event())
    event.clear()
    socket.gateway.outbox.paused.append(socket.number)
    socket.gateway.wake()
    await asyncio.wait_for(event.wait(), DRAIN_SECONDS)


async def catch_up(gateway: GatewayConnection, database: Database, engine: "Engine") -> None:
    """Tells a gateway that lost its stream what was committed since, then what was held back meanwhile.

    It may have been told a part of it; the gateway knows, and passes over that. Raises what the database
    raises: the stream must end then, so that the gateway asks again for all that it missed.
    """
    users = list({socket.user_id for socket in gateway.sockets.values()})
    active: set[bytes] = set()
    for some in slices(users, USERS_AT_ONCE):
        active.update(await database.read(read_active_chats, some, gateway.since))
    for some in slices(list(active), CHATS_AT_ONCE):
        for chat_id, messages in await database.read(read_since, some, gateway.since):
            await engine.tell_missed(gateway, chat_id, messages)
            await gateway.room()
    for message in await database.read(read_changed_since, gateway.since):
        await engine.tell_missed_change(gateway, message)
    gateway.release_deliveries()


def slices(items: list[bytes], size: int) -> Iterator[list[bytes]]:
    """The items, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
