"""Resume: what one socket missed, from the store."""

import asyncio

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.messenger.domain import Message, no_such_chat
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.realtime.gateway_connection import Socket
from palaver.messenger.realtime.hub import add_stored
from palaver.messenger.store.commit_log import read_newest
from palaver.messenger.store.messages import MessageReader
from palaver.messenger.store.opening import Store
from palaver.runtime.requester import work_for
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text

# A socket that does not take a page of its resume for so long is given up; its gateway cuts it off.
DRAIN_SECONDS = 60.0
# Above every seq: all live messages are passed over.
EVERYTHING = 2**62


def hold_back(socket: Socket, cursors: dict[bytes, int]) -> None:
    """From now on the chats' messages are not delivered to the socket live. Call it in the turn of the event
    loop in which the resume arrived: a message delivered live after that would be delivered twice."""
    socket.resuming = True
    # What an earlier resume has read of other chats may be about to be delivered live
    socket.floors = {**(socket.floors or {}), **dict.fromkeys(cursors, EVERYTHING)}
    socket.held_back.clear()


async def resume(
    socket: Socket, cursors: dict[bytes, int], store: Store, followed: FollowedPositions
) -> None:
    """Delivers to a socket all that came behind its cursors, then that this was all.

    Since `hold_back` new messages of those chats are not delivered to it live, but read from the store in
    their turn: it gets each once, and in order.
    """
    gateway = socket.gateway
    work_for(socket.user_id)
    try:
        # In one read: a client that was away for a moment has many chats, and missed something in few
        ends = await store.messages.readable_ends(socket.user_id, list(cursors))
        for chat_id, after in cursors.items():
            await resume_chat(socket, chat_id, after, store.messages, ends.get(chat_id))
    except Exception as error:
        log.exception("resume_failed")
        # Of the chats that are left the socket gets messages live again, behind a hole that its client sees
        socket.floors = None
        gateway.refuse_frame(socket.number, b"", PalaverError(UNAVAILABLE, cause=error_text(error)))
    finally:
        socket.resuming = False
        gateway.drained.pop(socket.number, None)
    if socket.number not in gateway.sockets:
        # It was cut short: its gateway asks again, on the next stream
        return
    gateway.outbox.resumed.append(socket.number)
    gateway.wake()
    await forget_floors(socket, store, followed)


async def forget_floors(socket: Socket, store: Store, followed: FollowedPositions) -> None:
    """Delivers live messages to a socket again, once all that its resume may have read has been delivered
    live too: that was committed by now, though this replica may not know of it yet."""
    floors = socket.floors
    await followed.reached(await store.database.read(read_newest))
    # A resume that has begun meanwhile has floors of its own
    if socket.floors is floors:
        socket.floors = None


async def resume_chat(
    socket: Socket, chat_id: bytes, after: int, reader: MessageReader, end: int | None
) -> None:
    """Delivers what came behind `after` in one chat, until the socket has caught up with live messages.

    `end`: the last seq that could be read when the resume began; None: the chat was not the user's.
    """
    assert socket.floors is not None
    gateway = socket.gateway
    # Nothing had been missed then; what has been held back since is found below
    found: tuple[list[Message], int] | None = ([], end) if end is not None and after >= end else None
    held_before = 0
    while socket.number in gateway.sockets:
        # Many who come back at once would fill the outbox
        await gateway.room()
        if found is None:
            held_before = socket.held_back.get(chat_id, 0)
            found = await reader.readable_after(chat_id, socket.user_id, after)
        if found is None:
            gateway.refuse_frame(socket.number, chat_id, no_such_chat())
            del socket.floors[chat_id]
            return
        (page, until), found = found, None
        # A cursor beyond the end would keep live messages back
        after = min(after, until)
        for message in page:
            add_stored(gateway, message, [socket.number], resumed=True)
            after = message.seq
        held = socket.held_back.get(chat_id, 0)
        if after >= max(until, held):
            break
        if not page and held == held_before:
            # Held back before this was read, and still not found: the user may not read it any more
            break
        await wait_until_drained(socket)
    # From here on its messages are delivered live again, but for those that were read already and are about
    # to be. Nothing was awaited since the check above: no message can fall between the two.
    socket.floors[chat_id] = after
    socket.held_back.pop(chat_id, None)


async def wait_until_drained(socket: Socket) -> None:
    """Waits until the gateway has written out what was delivered to the socket: it may read slowly."""
    event = socket.gateway.drained.setdefault(socket.number, asyncio.Event())
    event.clear()
    socket.gateway.outbox.paused.append(socket.number)
    socket.gateway.wake()
    async with asyncio.timeout(DRAIN_SECONDS):
        await event.wait()
