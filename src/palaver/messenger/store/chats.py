"""Chats and their members: the statements that make and change them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from palaver.contracts.errors import FORBIDDEN, INVALID, NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import ChatView
from palaver.messenger.store.chat_lists import load_chat
from palaver.messenger.store.members import (
    Standing,
    check_group,
    check_member,
    lock_standing,
    read_standing,
)
from palaver.messenger.store.schema import DIRECT, GROUP, chats, members

_by_pair = select(chats.c.id).where(chats.c.pair == bindparam("pair"))

_rejoin = update(members).where(
    members.c.chat_id == bindparam("chat"), members.c.user_id == bindparam("user")
)
_change_version = (
    update(chats)
    .where(chats.c.id == bindparam("chat_id"))
    .values(members_version=chats.c.members_version + 1)
)


# ---- direct chats ----


def pair_of(one: bytes, other: bytes) -> bytes:
    """The two users of a direct chat as one value, the same for both sides."""
    return one + other if one < other else other + one


def find_direct_chat(connection: Connection, user_id: bytes, companion_id: bytes) -> ChatView | None:
    """The direct chat of two users, if they have one."""
    chat_id = connection.execute(_by_pair, {"pair": pair_of(user_id, companion_id)}).scalar()
    return None if chat_id is None else load_chat(connection, chat_id, user_id)


def open_direct_chat(
    connection: Connection, user_id: bytes, companion_id: bytes, now: int
) -> tuple[ChatView, bool]:
    """The direct chat of two users, and whether it was there before."""
    found = find_direct_chat(connection, user_id, companion_id)
    if found is not None:
        return found, True
    chat_id = new_id()
    row = {"id": chat_id, "kind": DIRECT, "pair": pair_of(user_id, companion_id), "created_by": user_id}
    try:
        # Both sides at once: the pair's unique key lets one of them win, where nothing else orders writers
        with connection.begin_nested():
            connection.execute(insert(chats), {**row, "created_at": now, "active_at": now})
    except IntegrityError:
        found = find_direct_chat(connection, user_id, companion_id)
        if found is None:
            raise
        return found, True
    insert_members(connection, chat_id, (user_id, companion_id), now, now, 0)
    return load_chat(connection, chat_id, user_id), False


# ---- groups ----


def create_group(
    connection: Connection, chat_id: bytes, user_id: bytes, title: str, member_ids: Iterable[bytes], now: int
) -> tuple[ChatView, bool]:
    """A group with the creator and `member_ids`, and whether a group with this id was there before."""
    row = {"id": chat_id, "kind": GROUP, "title": title, "created_by": user_id}
    try:
        with connection.begin_nested():
            connection.execute(insert(chats), {**row, "created_at": now, "active_at": now})
    except IntegrityError:
        return load_chat(connection, chat_id, user_id), True
    insert_members(connection, chat_id, (user_id, *member_ids), now, now, 0)
    return load_chat(connection, chat_id, user_id), False


def insert_members(
    connection: Connection, chat_id: bytes, user_ids: Iterable[bytes], now: int, active_at: int, last_seq: int
) -> None:
    """Adds rows of new members.

    Their receipts begin at the chat's end: what was said before them is history, not unread, and statuses
    of messages that all had read do not go back.
    """
    row = {"chat_id": chat_id, "joined_at": now, "active_at": active_at}
    rows = [{**row, "user_id": user, "received_seq": last_seq, "read_seq": last_seq} for user in user_ids]
    if rows:
        connection.execute(insert(members), rows)


def add_members(
    connection: Connection, chat_id: bytes, user_id: bytes, user_ids: Sequence[bytes], now: int, most: int
) -> tuple[ChatView, bool]:
    """Adds those of `user_ids` who are no members yet; False: nobody was.

    Raises `not_found`, `forbidden` for a direct chat, and `invalid` where the group would pass `most`.
    """
    standing = check_member(lock_standing(connection, chat_id, user_id))
    check_group(standing)
    query = select(members.c.user_id, members.c.left_seq).where(members.c.chat_id == chat_id)
    known = dict(connection.execute(query).all())
    present = sum(left_seq is None for left_seq in known.values())
    fresh = [user for user in user_ids if user not in known]
    back = [user for user in user_ids if known.get(user) is not None]
    if present + len(fresh) + len(back) > most:
        raise PalaverError(INVALID, f"a group has at most {most:,} members", field="user_ids")
    if fresh or back:
        insert_members(connection, chat_id, fresh, now, standing.active_at, standing.last_seq)
        rejoin_members(connection, chat_id, back, now, standing)
        connection.execute(_change_version, {"chat_id": chat_id})
    return load_chat(connection, chat_id, user_id), bool(fresh or back)


def check_may_add(connection: Connection, chat_id: bytes, user_id: bytes) -> None:
    """Raises `not_found` for who is no member, and `forbidden` for a direct chat."""
    check_group(check_member(read_standing(connection, chat_id, user_id)))


def rejoin_members(
    connection: Connection, chat_id: bytes, user_ids: Iterable[bytes], now: int, standing: Standing
) -> None:
    """Makes former members members again."""
    seq = standing.last_seq
    row = {"chat": chat_id, "joined_at": now, "left_seq": None, "active_at": standing.active_at}
    rows = [{**row, "user": user, "received_seq": seq, "read_seq": seq} for user in user_ids]
    if rows:
        connection.execute(_rejoin, rows)


def remove_member(connection: Connection, chat_id: bytes, user_id: bytes, removed_id: bytes) -> None:
    """Ends a membership: the creator's choice, or the member's own.

    Raises `not_found`, and `forbidden` for a direct chat and for who is neither of the two.
    """
    standing = check_member(lock_standing(connection, chat_id, user_id))
    check_group(standing)
    if user_id not in (removed_id, standing.created_by):
        raise PalaverError(FORBIDDEN, "only the creator of a group removes others", field="user_id")
    removed = connection.execute(
        update(members)
        .where(members.c.chat_id == chat_id, members.c.user_id == removed_id, members.c.left_seq.is_(None))
        .values(left_seq=standing.last_seq, active_at=standing.active_at)
    )
    if not removed.rowcount:
        raise PalaverError(NOT_FOUND, "the user is not a member of this chat", field="user_id")
    connection.execute(_change_version, {"chat_id": chat_id})
