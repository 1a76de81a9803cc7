"""Statements about sessions: plain functions that run in a transaction of `runtime.sql`."""

from enum import Enum

from sqlalchemy import Connection, delete, func, insert, select, update

from palaver.auth.domain import Session
from palaver.auth.schema import refresh_tokens, revocations, sessions
from palaver.auth.user_rows import replace_password_hash
from palaver.contracts.errors import SESSION_REVOKED, PalaverError

MOST_LISTED = 1_000
MOST_REVOCATIONS = 1_000
PRUNED_AT_ONCE = 500

_COLUMNS = (
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.created_at,
    sessions.c.last_used_at,
    sessions.c.expires_at,
    sessions.c.agent,
    sessions.c.address,
)


class Refusal(Enum):
    """Why a refresh token is not changed for another."""

    UNKNOWN = "unknown"
    ENDED = "ended"
    REUSED = "reused"


def add_session(
    connection: Connection, session: Session, token_hash: bytes, rehashed: tuple[str, str] | None = None
) -> None:
    """Stores a session with its first refresh token. `rehashed`: the old and the new hash of the password."""
    row = {column.name: getattr(session, column.name) for column in _COLUMNS}
    connection.execute(insert(sessions), row)
    add_refresh_token(connection, session.id, token_hash, session.created_at)
    if rehashed is not None:
        replace_password_hash(connection, session.user_id, *rehashed)


def add_refresh_token(connection: Connection, session_id: bytes, token_hash: bytes, now: int) -> None:
    """Stores the token that a session's holder has from now on."""
    row = {"hash": token_hash, "session_id": session_id, "created_at": now}
    connection.execute(insert(refresh_tokens), row)


def use_refresh_token(
    connection: Connection, old_hash: bytes, new_hash: bytes, now: int, expires_at: int
) -> Session | Refusal:
    """Changes a token for the next one of its session.

    A used one ends the session: either its holder or a thief has the other copy. That is why a refusal is
    returned and not raised, which would roll the end back.
    """
    of_old = refresh_tokens.c.hash == old_hash
    both = refresh_tokens.join(sessions)
    found = connection.execute(
        select(*_COLUMNS, sessions.c.ended_at, refresh_tokens.c.used_at).select_from(both).where(of_old)
    ).first()
    if found is None:
        return Refusal.UNKNOWN
    if found.ended_at is not None or found.expires_at <= now:
        return Refusal.ENDED
    used = connection.execute(
        update(refresh_tokens).where(of_old, refresh_tokens.c.used_at.is_(None)).values(used_at=now)
    )
    if used.rowcount == 0:
        end_session(connection, found.user_id, found.id, now)
        return Refusal.REUSED
    add_refresh_token(connection, found.id, new_hash, now)
    values = {"last_used_at": now, "expires_at": expires_at}
    connection.execute(update(sessions).where(sessions.c.id == found.id).values(values))
    return Session(found.id, found.user_id, found.created_at, now, expires_at, found.agent, found.address)


def require_session(connection: Connection, session_id: bytes, now: int) -> None:
    """Raises `session_revoked` unless the session lives."""
    found = connection.execute(
        select(sessions.c.ended_at, sessions.c.expires_at).where(sessions.c.id == session_id)
    ).first()
    if found is None or found.ended_at is not None or found.expires_at <= now:
        raise PalaverError(SESSION_REVOKED, "the session has ended: sign in again")


def list_sessions(connection: Connection, user_id: bytes, now: int) -> list[Session]:
    """The live sessions of a user, newest first; the newest `MOST_LISTED` of them."""
    found = connection.execute(
        select(*_COLUMNS)
        .where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None), sessions.c.expires_at > now)
        .order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
        .limit(MOST_LISTED)
    )
    return [Session(*row) for row in found]


def end_session(connection: Connection, user_id: bytes, session_id: bytes, now: int) -> bool:
    """Ends a live session of the user, and lists it as a revocation. False: there is no such session."""
    mine = (sessions.c.id == session_id, sessions.c.user_id == user_id, sessions.c.ended_at.is_(None))
    ended = connection.execute(update(sessions).where(*mine).values(ended_at=now))
    if ended.rowcount == 0:
        return False
    connection.execute(insert(revocations), {"session_id": session_id, "ended_at": now})
    return True


def read_revocations(connection: Connection, after: int) -> tuple[list[bytes], int]:
    """The sessions that ended after a position, oldest first, and the position to go on from.

    -1 reads the newest position alone. A position that was not given out yet is one of another database,
    e.g. of before a backup was restored: then all that are still known are listed.
    """
    newest = connection.execute(select(func.max(revocations.c.position))).scalar() or 0
    if after < 0:
        return [], newest
    start = after if after <= newest else 0
    found = connection.execute(
        select(revocations.c.position, revocations.c.session_id)
        .where(revocations.c.position > start)
        .order_by(revocations.c.position)
        .limit(MOST_REVOCATIONS)
    ).all()
    return [row.session_id for row in found], found[-1].position if found else newest


def prune(connection: Connection, used_before: int, ended_before: int, expired_before: int) -> bool:
    """Deletes some of what is not read any more. True: there may be more."""
    pieces = [
        (refresh_tokens.c.hash, refresh_tokens.c.used_at < used_before),
        (revocations.c.position, revocations.c.ended_at < ended_before),
        (sessions.c.id, sessions.c.ended_at < ended_before),
        (sessions.c.id, sessions.c.expires_at < expired_before),
    ]
    more = False
    for key, old in pieces:
        # Selected first: not every engine deletes with a limit
        keys = connection.execute(select(key).where(old).limit(PRUNED_AT_ONCE)).scalars().all()
        if keys:
            connection.execute(delete(key.table).where(key.in_(keys)))
        more = more or len(keys) == PRUNED_AT_ONCE
    return more
