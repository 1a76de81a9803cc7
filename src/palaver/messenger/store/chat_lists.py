"""How a chat looks to one of its members: one chat, or pages of a user's chats by newest activity."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, func, or_, select

from palaver.contracts.errors import INVALID, PalaverError
from palaver.messenger.domain import (
    TITLE_BYTES,
    TITLE_CHARACTERS,
    ChatView,
    MemberView,
    no_such_chat,
)
from palaver.messenger.store.schema import GROUP, chats, members, presence
from palaver.runtime.texts import cut_text

# Of a group's members in a list: others decide how many there are
LISTED_MEMBERS = 10


class ListPosition(NamedTuple):
    """A place in a user's list of chats: behind this chat, as it stood there."""

    active_at: int
    chat_id: bytes


_me = members.alias("me")
_readable = func.coalesce(_me.c.left_seq, chats.c.last_seq)


def select_views(title: ColumnElement[str]) -> "Select[Any]":
    """Chats as one of their members sees them, without their members."""
    return (
        select(
            chats.c.id.label("chat_id"),
            chats.c.kind,
            title.label("title"),
            chats.c.created_at,
            chats.c.created_by,
            _readable.label("readable"),
            case((_me.c.left_seq.is_(None), chats.c.active_at), else_=_me.c.active_at).label("active_at"),
            _me.c.active_at.label("position"),
            _me.c.read_seq,
            _me.c.left_seq,
        )
        .select_from(_me)
        .join(chats, chats.c.id == _me.c.chat_id)
        .where(_me.c.user_id == bindparam("user_id"))
    )


_one_view = select_views(chats.c.title).where(_me.c.chat_id == bindparam("chat_id"))
# Titles of groups that are older than their bound may be long
_listed = select_views(func.substr(chats.c.title, 1, TITLE_BYTES))
_by_activity = _listed.order_by(_me.c.active_at.desc(), _me.c.chat_id.desc()).limit(bindparam("limit"))
_from_offset = _by_activity.offset(bindparam("offset"))
# Not a comparison of rows: MySQL would not use the index for that
_behind_position = _by_activity.where(
    _me.c.active_at <= bindparam("active_at"),
    or_(_me.c.active_at < bindparam("active_at"), _me.c.chat_id < bindparam("behind_id")),
)
_count = select(func.count()).select_from(members).where(members.c.user_id == bindparam("user_id"))
_members_of = (
    select(
        members.c.chat_id,
        members.c.user_id,
        members.c.joined_at,
        members.c.received_seq,
        members.c.read_seq,
        func.coalesce(presence.c.online, False),
        func.coalesce(presence.c.last_seen_at, 0),
    )
    .outerjoin(presence, presence.c.user_id == members.c.user_id)
    .where(members.c.chat_id.in_(bindparam("chat_ids", expanding=True)))
    .order_by(members.c.chat_id, members.c.joined_at, members.c.user_id)
)
_present_members_of = _members_of.where(members.c.left_seq.is_(None))
_own_membership_of = _members_of.where(members.c.user_id == bindparam("user_id"))
# In the order of the primary key: of a large group no more is read than is shown
_first_members_of = _present_members_of.order_by(None).order_by(members.c.chat_id, members.c.user_id)
_first_members_of = _first_members_of.limit(LISTED_MEMBERS)
_member_counts = (
    select(members.c.chat_id, func.count())
    .where(members.c.chat_id.in_(bindparam("chat_ids", expanding=True)), members.c.left_seq.is_(None))
    .group_by(members.c.chat_id)
)


def load_chat(connection: Connection, chat_id: bytes, user_id: bytes) -> ChatView:
    """A chat as a present or former member sees it. Raises `not_found` for anybody else."""
    view = find_chat(connection, chat_id, user_id)
    if view is None:
        raise no_such_chat()
    return view


def find_chat(connection: Connection, chat_id: bytes, user_id: bytes) -> ChatView | None:
    """A chat as a present or former member sees it; None for anybody else."""
    rows = connection.execute(_one_view, {"chat_id": chat_id, "user_id": user_id}).all()
    if not rows:
        return None
    found = read_members(connection, rows, user_id)
    return view_of(rows[0], found, {chat_id: len(found[chat_id])})


def list_chats(
    connection: Connection, user_id: bytes, limit: int, behind: ListPosition | None
) -> tuple[list[ChatView], ListPosition | None]:
    """A page of a user's chats, newest activity first, and where the next one begins; None: nowhere."""
    # One more than asked for tells whether there is a next page
    given: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
    query = _by_activity
    if behind is not None:
        query = _behind_position
        given.update(active_at=behind.active_at, behind_id=behind.chat_id)
    rows = connection.execute(query, given).all()
    more = ListPosition(rows[limit - 1].position, rows[limit - 1].chat_id) if len(rows) > limit else None
    return listed_views(connection, rows[:limit], user_id), more


def list_chats_from(connection: Connection, user_id: bytes, limit: int, offset: int) -> list[ChatView]:
    """The same page by offset, for old clients: the further back it lies, the more it costs."""
    given = {"user_id": user_id, "limit": limit, "offset": offset}
    return listed_views(connection, connection.execute(_from_offset, given).all(), user_id)


def count_chats(connection: Connection, user_id: bytes) -> int:
    """How many chats a user has, those included that the user has left."""
    return connection.execute(_count, {"user_id": user_id}).scalar_one()


def listed_views(connection: Connection, rows: Sequence[Any], user_id: bytes) -> list[ChatView]:
    """Rows of `_listed` with some of their chats' members, and the titles within their bounds."""
    present = [row.chat_id for row in rows if row.left_seq is None]
    counts = read_counts(connection, present)
    small = [row for row in rows if counts.get(row.chat_id, 0) <= LISTED_MEMBERS]
    found = dict(read_members(connection, small, user_id))
    large = [row.chat_id for row in rows if counts.get(row.chat_id, 0) > LISTED_MEMBERS]
    found.update(read_few_members(connection, large, user_id))
    views = [view_of(row, found, counts) for row in rows]
    return [
        view._replace(title=cut_text(view.title, TITLE_CHARACTERS, TITLE_BYTES)) if view.title else view
        for view in views
    ]


def view_of(row: Any, found: Mapping[bytes, list[MemberView]], counts: Mapping[bytes, int]) -> ChatView:
    """A row with the members of its chat. Last messages are the message reader's."""
    shown = found.get(row.chat_id, [])
    return ChatView(
        row.chat_id,
        row.kind == GROUP,
        row.title,
        row.created_at,
        row.created_by,
        row.readable,
        row.active_at,
        max(0, row.readable - row.read_seq),
        row.left_seq is not None,
        None,
        shown,
        counts.get(row.chat_id, len(shown)),
    )


def read_members(
    connection: Connection, rows: Sequence[Any], user_id: bytes
) -> Mapping[bytes, list[MemberView]]:
    """Members by chat. Of a chat that the viewer has left, only the viewer: later news is not theirs."""
    present = [row.chat_id for row in rows if row.left_seq is None]
    left = [row.chat_id for row in rows if row.left_seq is not None]
    found: dict[bytes, list[MemberView]] = {}
    if present:
        add_members_of(found, connection, _present_members_of, {"chat_ids": present})
    if left:
        add_members_of(found, connection, _own_membership_of, {"chat_ids": left, "user_id": user_id})
    return found


def read_few_members(
    connection: Connection, chat_ids: Sequence[bytes], user_id: bytes
) -> Mapping[bytes, list[MemberView]]:
    """Some members of each of these chats, the viewer among them: a list that grew with what others add to
    their groups could not be shown any more."""
    if not chat_ids:
        return {}
    own: dict[bytes, list[MemberView]] = {}
    add_members_of(own, connection, _own_membership_of, {"chat_ids": chat_ids, "user_id": user_id})
    few: dict[bytes, list[MemberView]] = {}
    for chat_id in chat_ids:
        add_members_of(few, connection, _first_members_of, {"chat_ids": [chat_id]})
        others = [member for member in few[chat_id] if member.user_id != user_id][: LISTED_MEMBERS - 1]
        few[chat_id] = sorted([*own[chat_id], *others], key=lambda member: (member.joined_at, member.user_id))
    return few


def add_members_of(
    found: dict[bytes, list[MemberView]], connection: Connection, query: "Select[Any]", given: dict[str, Any]
) -> None:
    """Adds the members that a query finds, by chat."""
    for chat_id, *member in connection.execute(query, given):
        found.setdefault(chat_id, []).append(MemberView(*member))


def read_counts(connection: Connection, chat_ids: Sequence[bytes]) -> Mapping[bytes, int]:
    """How many members each of these chats has."""
    if not chat_ids:
        return {}
    return dict(connection.execute(_member_counts, {"chat_ids": chat_ids}).all())


# ---- cursors ----


def cursor_of(position: ListPosition | None) -> str:
    """A position as clients carry it, who need not understand it. Empty: there is no next page."""
    if position is None:
        return ""
    raw = position.active_at.to_bytes(8, "big") + position.chat_id
    return base64.urlsafe_b64encode(raw).decode()


def position_of(cursor: str) -> ListPosition | None:
    """The position that a cursor names; None for an empty one. Raises `invalid`."""
    if not cursor:
        return None
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # The sign bit stays 0, so that the time fits the database's integers
    if len(raw) != 24 or raw[0] > 0x7F:
        raise PalaverError(INVALID, "cursor is not one that this service gave", field="cursor")
    return ListPosition(int.from_bytes(raw[:8], "big"), raw[8:])
