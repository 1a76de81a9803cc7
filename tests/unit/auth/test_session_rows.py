"""What is said to the database about sessions."""

import pytest
from sqlalchemy import Connection, func, select

from palaver.auth.domain import Session
from palaver.auth.schema import refresh_tokens, revocations, sessions
from palaver.auth.session_rows import (
    Refusal,
    add_session,
    end_session,
    list_sessions,
    prune,
    read_revocations,
    require_session,
    use_refresh_token,
)
from palaver.contracts.errors import SESSION_REVOKED, PalaverError
from palaver.contracts.ids import new_id
from tests.unit.auth.test_user_rows import add

NOW = 1_000_000


@pytest.fixture
def owner(connection: Connection) -> bytes:
    [user] = add(connection, ("Alice", "Bee"))
    return user.id


def start(connection: Connection, owner: bytes, token: bytes, now: int = NOW, lives: int = 1_000) -> bytes:
    session = Session(new_id(), owner, now, now, now + lives, "an agent", "192.0.2.1")
    add_session(connection, session, token)
    return session.id


def lives(connection: Connection, session_id: bytes, now: int = NOW) -> bool:
    try:
        require_session(connection, session_id, now)
    except PalaverError as error:
        assert error.kind is SESSION_REVOKED  # noqa: PT017 - either way is an answer here
        return False
    return True


def count(connection: Connection) -> list[int]:
    tables = (sessions, refresh_tokens, revocations)
    return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def test_token_is_used_once_and_the_session_goes_on(connection: Connection, owner: bytes) -> None:
    """Users would have to sign in again every half hour."""
    session_id = start(connection, owner, b"1")
    moved = use_refresh_token(connection, b"1", b"2", NOW + 900, NOW + 1_900)
    assert isinstance(moved, Session)
    assert (moved.id, moved.user_id, moved.last_used_at, moved.expires_at) == (
        *(session_id, owner),
        *(NOW + 900, NOW + 1_900),
    )
    assert list_sessions(connection, owner, NOW + 1_500) == [moved]
    assert isinstance(use_refresh_token(connection, b"2", b"3", NOW + 1_800, NOW + 2_800), Session)


def test_used_token_ends_its_session_alone(connection: Connection, owner: bytes) -> None:
    """A thief's copy of a token would stay good; or one theft would end all sessions of a user."""
    stolen, other = start(connection, owner, b"1"), start(connection, owner, b"9")
    use_refresh_token(connection, b"1", b"2", NOW, NOW + 1_000)
    assert use_refresh_token(connection, b"1", b"3", NOW, NOW + 1_000) is Refusal.REUSED
    assert use_refresh_token(connection, b"2", b"4", NOW, NOW + 1_000) is Refusal.ENDED
    assert use_refresh_token(connection, b"1", b"5", NOW, NOW + 1_000) is Refusal.ENDED
    assert not lives(connection, stolen)
    assert lives(connection, other)
    assert read_revocations(connection, 0) == ([stolen], 1)


def test_unknown_and_expired_tokens_are_refused(connection: Connection, owner: bytes) -> None:
    """A made-up token would be taken, or one that was left in a drawer for years."""
    session_id = start(connection, owner, b"1", lives=100)
    assert use_refresh_token(connection, b"x", b"2", NOW, NOW + 100) is Refusal.UNKNOWN
    assert use_refresh_token(connection, b"1", b"2", NOW + 100, NOW + 200) is Refusal.ENDED
    assert lives(connection, session_id, NOW + 99)
    assert not lives(connection, session_id, NOW + 100)
    assert not lives(connection, new_id())


def test_live_sessions_newest_first(connection: Connection, owner: bytes) -> None:
    """A user could not see who is signed in, or would see what has ended."""
    first, ended, expired = (
        start(connection, owner, bytes([n]), NOW + n, 100 * (2 - n) + 1) for n in range(3)
    )
    last = start(connection, owner, b"9", NOW + 9)
    [other] = add(connection, ("Bob", "Bee"))
    start(connection, other.id, b"8")
    end_session(connection, owner, ended, NOW)
    assert [one.id for one in list_sessions(connection, owner, NOW + 50)] == [last, first]
    assert expired not in [one.id for one in list_sessions(connection, owner, NOW + 50)]


def test_only_the_owner_ends_a_session_and_once(connection: Connection, owner: bytes) -> None:
    """Anybody could sign others out; an end told twice would make readers' positions drift."""
    session_id = start(connection, owner, b"1")
    assert end_session(connection, new_id(), session_id, NOW) is False
    assert lives(connection, session_id)
    assert end_session(connection, owner, session_id, NOW) is True
    assert end_session(connection, owner, session_id, NOW) is False
    assert read_revocations(connection, 0) == ([session_id], 1)


def test_ends_are_told_in_order_by_position(
    connection: Connection, owner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoked session would keep its sockets."""
    monkeypatch.setattr("palaver.auth.session_rows.MOST_REVOCATIONS", 2)
    ended = [start(connection, owner, bytes([n])) for n in range(3)]
    assert read_revocations(connection, 0) == ([], 0)
    for one in ended:
        end_session(connection, owner, one, NOW)
    assert read_revocations(connection, -1) == ([], 3)
    assert read_revocations(connection, 0) == (ended[:2], 2)
    assert read_revocations(connection, 2) == (ended[2:], 3)
    assert read_revocations(connection, 3) == ([], 3)


def test_position_of_another_database_starts_again(connection: Connection, owner: bytes) -> None:
    """After a backup was restored gateways would wait for positions that come in years."""
    session_id = start(connection, owner, b"1")
    end_session(connection, owner, session_id, NOW)
    assert read_revocations(connection, 5_000) == ([session_id], 1)


def test_pruning_forgets_what_is_over_and_nothing_else(connection: Connection, owner: bytes) -> None:
    """The database would grow for ever; or sessions would be lost."""
    living, ended, expired = (start(connection, owner, bytes([n]), lives=10 * (n != 2) + 1) for n in range(3))
    end_session(connection, owner, ended, NOW)
    use_refresh_token(connection, bytes([0]), b"next", NOW, NOW + 1_000)
    assert prune(connection, NOW, NOW, NOW) is False
    assert count(connection) == [3, 4, 1]
    assert prune(connection, NOW + 1, NOW + 1, NOW + 2) is False
    assert count(connection) == [1, 1, 0]
    assert lives(connection, living)
    assert isinstance(use_refresh_token(connection, b"next", b"after", NOW + 1, NOW + 2_000), Session)
    assert not lives(connection, expired)


def test_positions_are_not_given_out_again(connection: Connection, owner: bytes) -> None:
    """A gateway would never hear of sessions that ended after old ones were forgotten."""
    first, second = start(connection, owner, b"1"), start(connection, owner, b"2")
    end_session(connection, owner, first, NOW)
    prune(connection, NOW, NOW + 1, NOW)
    end_session(connection, owner, second, NOW)
    assert read_revocations(connection, 1) == ([second], 2)


def test_pruning_goes_in_pieces(
    connection: Connection, owner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long pause one long transaction would hold up every sign-in."""
    monkeypatch.setattr("palaver.auth.session_rows.PRUNED_AT_ONCE", 2)
    for number in range(5):
        end_session(connection, owner, start(connection, owner, bytes([number])), NOW)
    turns = 1
    while prune(connection, NOW + 1, NOW + 1, NOW + 1):
        turns += 1
    assert turns == 3
    assert count(connection) == [0, 0, 0]
