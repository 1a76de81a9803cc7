"""Statements about sessions: plain functions that run in a transaction of `runtime.sql`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from palaver.auth.device_rows import remember_device
from palaver.auth.domain import Client, Session
from palaver.auth.lock_rows import REVOCATIONS, lock, lock_user
from palaver.auth.refresh_tokens import hash_of, successor_of
from palaver.auth.schema import refresh_tokens, revocations, sessions
from palaver.auth.user_rows import replace_password_hash
from palaver.contracts.errors import SESSION_REVOKED, PalaverError

MOST_LISTED = 1_000
MOST_REVOCATIONS = 1_000
PRUNED_AT_ONCE = 500
ENDED_AT_ONCE = 500

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


@dataclass(frozen=True, slots=True)
class Successor:
    """The refresh token that a session's holder has from now on, and when it was issued."""

    session: Session
    token: str
    issued_at: int


def add_session(
    connection: Connection,
    session: Session,
    client: Client,
    token_hash: bytes,
    most: int,
    rehashed: tuple[str, str] | None = None,
) -> None:
    """Stores a session with its first refresh token, and ends the user's oldest beyond `most`.

    The device is known from then on. `rehashed`: the old and the new hash of the password.
    """
    # Two sign-ins at once would each leave the other's session beyond the most, or store one device twice
    lock_user(connection, session.user_id)
    if not insert_session(connection, session):
        return
    add_refresh_token(connection, session.id, token_hash, session.created_at)
    remember_device(connection, session.user_id, client, session.created_at)
    if rehashed is not None:
        replace_password_hash(connection, session.user_id, *rehashed)
    newest_first = (sessions.c.created_at.desc(), sessions.c.id.desc())
    lives = (sessions.c.user_id == session.user_id, sessions.c.ended_at.is_(None))
    # The new one itself stays, also where a clock was set back
    others = select(sessions.c.id).where(*lives, sessions.c.id != session.id).order_by(*newest_first)
    surplus = others.limit(ENDED_AT_ONCE).offset(most - 1)
    end_sessions(connection, connection.execute(surplus).scalars().all(), session.created_at)


def insert_session(connection: Connection, session: Session) -> bool:
    """False: it is there, because the answer to its commit was lost, and the transaction is repeated."""
    row = {column.name: getattr(session, column.name) for column in _COLUMNS}
    try:
        connection.execute(insert(sessions), row)
    except IntegrityError:
        if connection.execute(select(sessions.c.id).where(sessions.c.id == session.id)).first() is None:
            raise
        return False
    return True


def add_refresh_token(connection: Connection, session_id: bytes, token_hash: bytes, now: int) -> None:
    """Stores the token that a session's holder has from now on."""
    row = {"hash": token_hash, "session_id": session_id, "created_at": now}
    connection.execute(insert(refresh_tokens), row)


def use_refresh_token(
    connection: Connection, token: str, salt: bytes, now: int, expires_at: int, repeat_us: int
) -> Successor | Refusal:
    """Changes a token for the next one of its session, which `salt` makes.

    A used one gives the same again for `repeat_us`. After that, or once the next one was used, it ends the
    session: either its holder or a thief has the other copy. That is why a refusal is returned and not
    raised, which would roll the end back.
    """
    both = refresh_tokens.join(sessions)
    extra = (sessions.c.ended_at, sessions.c.successor_salt, refresh_tokens.c.used_at)
    of_token = refresh_tokens.c.hash == hash_of(token)
    # Locked, where the engine does not let one transaction write at a time anyway
    wanted = select(*_COLUMNS, *extra).select_from(both).where(of_token).with_for_update()
    found = connection.execute(wanted).first()
    if found is None:
        return Refusal.UNKNOWN
    if found.ended_at is not None or found.expires_at <= now:
        return Refusal.ENDED
    if found.used_at is not None:
        repeated = repeated_successor(connection, found, token, now, repeat_us)
        if repeated is None:
            end_session(connection, found.user_id, found.id, now)
        return repeated or Refusal.REUSED
    connection.execute(update(refresh_tokens).where(of_token).values(used_at=now))
    successor = successor_of(token, salt)
    add_refresh_token(connection, found.id, hash_of(successor), now)
    values = {"last_used_at": now, "expires_at": expires_at, "successor_salt": salt}
    connection.execute(update(sessions).where(sessions.c.id == found.id).values(values))
    session = Session(found.id, found.user_id, found.created_at, now, expires_at, found.agent, found.address)
    return Successor(session, successor, now)


def repeated_successor(
    connection: Connection, used: Row[*tuple[Any, ...]], token: str, now: int, repeat_us: int
) -> Successor | None:
    """What the used token was changed for, where it may be given out again."""
    # A clock that was set back must not open the time for a repeat again
    if used.successor_salt is None or abs(now - used.used_at) > repeat_us:
        return None
    successor = successor_of(token, used.successor_salt)
    # Of an older token there is no such successor; and one that was used has arrived
    unused = (refresh_tokens.c.hash == hash_of(successor), refresh_tokens.c.used_at.is_(None))
    issued_at = connection.execute(select(refresh_tokens.c.created_at).where(*unused)).scalar()
    if issued_at is None:
        return None
    return Successor(Session(*used[: len(_COLUMNS)]), successor, issued_at)


def require_session(connection: Connection, session_id: bytes, now: int, *, kept: bool = False) -> None:
    """Raises `session_revoked` unless the session lives. `kept`: it lives until the transaction's end."""
    wanted = select(sessions.c.ended_at, sessions.c.expires_at).where(sessions.c.id == session_id)
    found = connection.execute(wanted.with_for_update() if kept else wanted).first()
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
    if end_sessions(connection, [session_id], now, sessions.c.user_id == user_id):
        return True
    # The answer to its commit was lost, and the transaction is repeated
    mine = (sessions.c.id == session_id, sessions.c.user_id == user_id, sessions.c.ended_at == now)
    return connection.execute(select(sessions.c.id).where(*mine)).first() is not None


def end_sessions(
    connection: Connection, ids: Sequence[bytes], now: int, *conditions: ColumnElement[bool]
) -> list[bytes]:
    """Ends those sessions that live and meet the conditions, and lists them as revocations. Returns them."""
    ended = [
        session_id
        for session_id in ids
        if connection.execute(
            update(sessions)
            .where(sessions.c.id == session_id, sessions.c.ended_at.is_(None), *conditions)
            .values(ended_at=now)
        ).rowcount
    ]
    if ended:
        # A reader who has a position has all before it: none may become visible behind a later one
        lock(connection, REVOCATIONS)
        rows = [{"session_id": session_id, "ended_at": now} for session_id in ended]
        connection.execute(insert(revocations), rows)
    return ended


def has_expired(connection: Connection, now: int) -> bool:
    """Whether a session that was not ended yet has not been refreshed in time."""
    return connection.execute(expired_sessions(now).limit(1)).first() is not None


def end_expired(connection: Connection, now: int) -> None:
    """Ends sessions that were not refreshed in time, `ENDED_AT_ONCE` of them: their sockets end too."""
    ids = connection.execute(expired_sessions(now).limit(ENDED_AT_ONCE)).scalars().all()
    # Another replica may have refreshed one meanwhile
    end_sessions(connection, ids, now, sessions.c.expires_at <= now)


def expired_sessions(now: int) -> Select[bytes]:
    """The ids of sessions that time alone has ended."""
    return select(sessions.c.id).where(sessions.c.ended_at.is_(None), sessions.c.expires_at <= now)


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
            connection.execute(delete(key.table).where(key.in_(keys), old))
        more = more or len(keys) == PRUNED_AT_ONCE
    return more
