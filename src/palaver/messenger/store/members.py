"""Who belongs to which chat, and what a user is to it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from palaver.contracts.errors import FORBIDDEN, PalaverError
from palaver.messenger.domain import Membership, no_such_chat
from palaver.messenger.events import Commit, MessagesAppended
from palaver.messenger.store.commit_log import LogTrimmedError, read_after
from palaver.messenger.store.schema import GROUP, chats, members, presence
from palaver.runtime.sql.compiled_query import Query

# Of what other replicas committed just now; more is not on its way at once
RECENT_COMMITS = 1_000

# Of a user with very many direct chats, the most active ones see who comes and goes
MOST_COMPANIONS = 200

_chats_query = select(chats.c.id, chats.c.kind, chats.c.members_version, chats.c.last_seq).where(
    chats.c.id.in_(bindparam("ids", expanding=True))
)
_members_query = select(members.c.chat_id, members.c.user_id).where(
    members.c.chat_id.in_(bindparam("ids", expanding=True)), members.c.left_seq.is_(None)
)
_chats_of_query = select(members.c.user_id, members.c.chat_id).where(
    members.c.user_id.in_(bindparam("user_ids", expanding=True)), members.c.left_seq.is_(None)
)
_companions_query = (
    select(members.c.user_id, func.coalesce(presence.c.online, False))
    .outerjoin(presence, presence.c.user_id == members.c.user_id)
    .where(members.c.chat_id.in_(bindparam("ids", expanding=True)), members.c.user_id != bindparam("me"))
)
_direct_query = (
    select(members.c.chat_id)
    .join(chats, chats.c.id == members.c.chat_id)
    .where(members.c.user_id == bindparam("me"), chats.c.kind != GROUP)
    .order_by(members.c.active_at.desc())
    .limit(bindparam("most"))
)
_online_query = select(presence.c.user_id).where(presence.c.online)


class Standing(NamedTuple):
    """What a user is to a chat. `left_seq`: the last seq that a former member may read; None for a member."""

    kind: int
    created_by: bytes
    last_seq: int
    active_at: int
    left_seq: int | None
    read_seq: int


_standing = (
    select(
        chats.c.kind,
        chats.c.created_by,
        chats.c.last_seq,
        chats.c.active_at,
        members.c.left_seq,
        members.c.read_seq,
    )
    .join(members, members.c.chat_id == chats.c.id)
    .where(chats.c.id == bindparam("chat_id"), members.c.user_id == bindparam("user_id"))
)
_plain_standing = Query(_standing)
_lock = select(chats.c.id).where(chats.c.id == bindparam("chat_id")).with_for_update()


def read_standing(connection: Connection, chat_id: bytes, user_id: bytes) -> Standing:
    """What a present or former member is to a chat. Raises `not_found` for anybody else."""
    rows = _plain_standing.rows(connection, {"chat_id": chat_id, "user_id": user_id})
    if not rows:
        raise no_such_chat()
    return Standing._make(rows[0])


def lock_standing(connection: Connection, chat_id: bytes, user_id: bytes) -> Standing:
    """The same, once nobody else changes the chat or its members: where rows can be locked, the chat's is,
    before any of its members'. Raises `not_found`."""
    connection.execute(_lock, {"chat_id": chat_id}).close()
    return read_standing(connection, chat_id, user_id)


def check_member(standing: Standing) -> Standing:
    """Raises `not_found` for a former member: who left may read, and do nothing."""
    if standing.left_seq is not None:
        raise no_such_chat()
    return standing


def check_group(standing: Standing) -> None:
    """Raises `forbidden` for a direct chat."""
    if standing.kind != GROUP:
        raise PalaverError(FORBIDDEN, "a direct chat has its two members for ever", field="chat_id")


def read_memberships(
    connection: Connection, chat_ids: Sequence[bytes], followed: Mapping[int, int] | None
) -> list[tuple[Membership, int]]:
    """The memberships of those chats that exist, each with the seq up to which its messages have been
    delivered.

    That is the chat's last seq, less what lies behind `followed` in the commit log: it is on its way here
    from another replica, and an own message must not overtake it. None: there is no other replica.
    """
    ids = {"ids": list(chat_ids)}
    users: dict[bytes, set[bytes]] = {}
    for chat_id, user_id in connection.execute(_members_query, ids):
        users.setdefault(chat_id, set()).add(user_id)
    arriving: dict[bytes, int] = {}
    for commit in [] if followed is None else read_arriving(connection, followed):
        for entry in commit.entries:
            if isinstance(entry, MessagesAppended):
                arriving.setdefault(entry.chat_id, entry.first_seq - 1)
    return [
        (
            Membership(chat_id, kind == GROUP, version, frozenset(users.get(chat_id, ()))),
            arriving.get(chat_id, last_seq),
        )
        for chat_id, kind, version, last_seq in connection.execute(_chats_query, ids)
    ]


def read_arriving(connection: Connection, followed: Mapping[int, int]) -> list[Commit]:
    """What other replicas committed just now; nothing where this one is so far behind that the log lacks
    it."""
    try:
        return read_after(connection, followed, RECENT_COMMITS)
    except LogTrimmedError:
        return []


def read_chats_of(connection: Connection, user_ids: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """All chats that users are members of, by user."""
    found: dict[bytes, list[bytes]] = {}
    for user_id, chat_id in connection.execute(_chats_of_query, {"user_ids": list(user_ids)}):
        found.setdefault(user_id, []).append(chat_id)
    return found


def read_companions(connection: Connection, user_id: bytes, most: int) -> dict[bytes, bool]:
    """The other sides of the user's `most` most active direct chats: who they are, and whether they are
    online."""
    chat_ids = [row[0] for row in connection.execute(_direct_query, {"me": user_id, "most": most})]
    rows = connection.execute(_companions_query, {"ids": chat_ids, "me": user_id})
    return {companion: bool(online) for companion, online in rows}


def read_online(connection: Connection) -> list[bytes]:
    """All users who are stored as online."""
    return [row[0] for row in connection.execute(_online_query)]
