"""What is said to the database about sessions."""

import pytest
from sqlalchemy import Connection, func, select

from palaver.auth.domain import Client, Session
from palaver.auth.refresh_tokens import hash_of, new_salt, successor_of
from palaver.auth.schema import refresh_tokens, revocations, sessions
from palaver.auth.session_rows import (
    Refusal,
    Successor,
    add_session,
    end_expired,
    end_session,
    has_expired,
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
REPEAT = 10


@pytest.fixture
def owner(connection: Connection) -> bytes:
    [user] = add(connection, ("Alice", "Bee"))
    return user.id


def start(
    connection: Connection, owner: bytes, token: str, now: int = NOW, lives: int = 1_000, most: int = 100
) -> bytes:
    session = Session(new_id(), owner, now, now, now + lives, "an agent", "192.0.2.1")
    add_session(connection, session, Client("192.0.2.1", "an agent"), hash_of(token), most)
    return session.id


def use(connection: Connection, token: str, now: int = NOW, lives: int = 1_000) -> Successor | Refusal:
    """Uses a refresh token, with a salt that is new each time."""
    return use_refresh_token(connection, token, new_salt(), now, now + lives, REPEAT)


def used(connection: Connection, token: str, now: int = NOW, lives: int = 1_000) -> Successor:
    """The token that follows."""
    found = use(connection, token, now, lives)
    assert isinstance(found, Successor)
    return found


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


def test_session_goes_on_with_each_token(connection: Connection, owner: bytes) -> None:
    """Users would have to sign in again every half hour."""
    session_id = start(connection, owner, "1")
    moved = used(connection, "1", NOW + 900)
    session = moved.session
    assert (session.id, session.user_id, session.last_used_at, session.expires_at) == (
        *(session_id, owner),
        *(NOW + 900, NOW + 1_900),
    )
    assert list_sessions(connection, owner, NOW + 1_500) == [session]
    assert used(connection, moved.token, NOW + 1_800).token not in ("1", moved.token)


def test_repeat_gives_the_same_token_and_ends_nothing(connection: Connection, owner: bytes) -> None:
    """Two tabs that refresh at once, or a phone that lost the answer, would sign their user out."""
    session_id = start(connection, owner, "1")
    first = used(connection, "1")
    for later in (0, 1, REPEAT, -REPEAT):
        assert used(connection, "1", NOW + later, lives=5_000) == first
    assert lives(connection, session_id)
    assert read_revocations(connection, 0) == ([], 0)
    # All of them have one successor
    assert used(connection, first.token, NOW + REPEAT).token == used(connection, first.token).token


@pytest.mark.parametrize("later", [REPEAT + 1, -REPEAT - 1])
def test_later_reuse_ends_its_session_alone(connection: Connection, owner: bytes, later: int) -> None:
    """A thief's copy of a token would stay good; or one theft would end all sessions of a user."""
    stolen, other = start(connection, owner, "1"), start(connection, owner, "9")
    moved = used(connection, "1")
    assert use(connection, "1", NOW + later) is Refusal.REUSED
    assert use(connection, moved.token) is Refusal.ENDED
    assert use(connection, "1") is Refusal.ENDED
    assert not lives(connection, stolen)
    assert lives(connection, other)
    assert read_revocations(connection, 0) == ([stolen], 1)


def test_reuse_of_a_token_whose_successor_was_used_ends_the_session(
    connection: Connection, owner: bytes
) -> None:
    """A thief and the owner would share a session as long as they refresh in quick turns."""
    stolen = start(connection, owner, "1")
    used(connection, used(connection, "1").token)
    assert use(connection, "1") is Refusal.REUSED
    assert not lives(connection, stolen)


def test_next_token_follows_from_what_is_stored_and_the_last_one_alone(
    connection: Connection, owner: bytes
) -> None:
    """Whoever holds an old token, or reads a backup, would know the one that is good now."""
    start(connection, owner, "1")
    moved = used(connection, "1")
    [salt] = connection.execute(select(sessions.c.successor_salt)).scalars()
    stored = connection.execute(select(refresh_tokens.c.hash)).scalars().all()
    assert moved.token.encode() not in (salt, *stored)
    assert successor_of("1", salt) == moved.token
    assert successor_of("1", new_salt()) != moved.token
    assert successor_of("2", salt) != moved.token


def test_unknown_and_expired_tokens_are_refused(connection: Connection, owner: bytes) -> None:
    """A made-up token would be taken, or one that was left in a drawer for years."""
    session_id = start(connection, owner, "1", lives=100)
    assert use(connection, "x") is Refusal.UNKNOWN
    assert use(connection, "1", NOW + 100) is Refusal.ENDED
    assert lives(connection, session_id, NOW + 99)
    assert not lives(connection, session_id, NOW + 100)
    assert not lives(connection, new_id())


def test_oldest_sessions_end_beyond_the_most(connection: Connection, owner: bytes) -> None:
    """A script that signs in again and again would fill the database, and its user's list of devices."""
    [other] = add(connection, ("Bob", "Bee"))
    spared = start(connection, other.id, "8", NOW - 5)
    started = [start(connection, owner, str(number), NOW + number, most=3) for number in range(5)]
    assert [one.id for one in list_sessions(connection, owner, NOW + 5)] == started[:1:-1]
    assert read_revocations(connection, 0) == (started[:2], 2)
    assert lives(connection, spared)
    # Where a clock was set back the new one stays all the same
    late = start(connection, owner, "late", NOW - 9, most=3)
    assert lives(connection, late)
    assert not lives(connection, started[2])


def test_session_ends_when_its_time_is_over(connection: Connection, owner: bytes) -> None:
    """Its sockets would stay open for ever, though its tokens are refused."""
    over, living = start(connection, owner, "1", lives=10), start(connection, owner, "2", lives=11)
    assert not has_expired(connection, NOW + 9)
    assert has_expired(connection, NOW + 10)
    end_expired(connection, NOW + 10)
    assert not has_expired(connection, NOW + 10)
    assert read_revocations(connection, 0) == ([over], 1)
    assert lives(connection, living, NOW + 10)


def test_a_repeated_sign_in_is_the_same(connection: Connection, owner: bytes) -> None:
    """Where the answer to a commit was lost, a sign-in would end with an error."""
    session = Session(new_id(), owner, NOW, NOW, NOW + 1_000, "an agent", "192.0.2.1")
    for _ in range(2):
        add_session(connection, session, Client("192.0.2.1", "an agent"), hash_of("1"), 1)
    assert list_sessions(connection, owner, NOW) == [session]
    assert isinstance(use(connection, "1"), Successor)


def test_a_refreshed_session_does_not_expire(
    connection: Connection, owner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session would end that another replica refreshed between two statements of this one."""
    session_id = start(connection, owner, "1", lives=10)
    monkeypatch.setattr("palaver.auth.session_rows.expired_sessions", lambda _: select(sessions.c.id))
    end_expired(connection, NOW + 9)
    assert lives(connection, session_id, NOW + 9)
    assert read_revocations(connection, 0) == ([], 0)


def test_live_sessions_newest_first(connection: Connection, owner: bytes) -> None:
    """A user could not see who is signed in, or would see what has ended."""
    first, ended, expired = (start(connection, owner, str(n), NOW + n, 100 * (2 - n) + 1) for n in range(3))
    last = start(connection, owner, "9", NOW + 9)
    [other] = add(connection, ("Bob", "Bee"))
    start(connection, other.id, "8")
    end_session(connection, owner, ended, NOW)
    assert [one.id for one in list_sessions(connection, owner, NOW + 50)] == [last, first]
    assert expired not in [one.id for one in list_sessions(connection, owner, NOW + 50)]


def test_only_the_owner_ends_a_session_and_once(connection: Connection, owner: bytes) -> None:
    """Anybody could sign others out; an end told twice would make readers' positions drift."""
    session_id = start(connection, owner, "1")
    assert end_session(connection, new_id(), session_id, NOW) is False
    assert lives(connection, session_id)
    # Again at the same time: the answer to the commit was lost, and the transaction is repeated
    for _ in range(2):
        assert end_session(connection, owner, session_id, NOW) is True
    assert end_session(connection, owner, session_id, NOW + 1) is False
    assert read_revocations(connection, 0) == ([session_id], 1)


def test_ends_are_told_in_order_by_position(
    connection: Connection, owner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoked session would keep its sockets."""
    monkeypatch.setattr("palaver.auth.session_rows.MOST_REVOCATIONS", 2)
    ended = [start(connection, owner, str(n)) for n in range(3)]
    assert read_revocations(connection, 0) == ([], 0)
    for one in ended:
        end_session(connection, owner, one, NOW)
    assert read_revocations(connection, -1) == ([], 3)
    assert read_revocations(connection, 0) == (ended[:2], 2)
    assert read_revocations(connection, 2) == (ended[2:], 3)
    assert read_revocations(connection, 3) == ([], 3)


def test_position_of_another_database_starts_again(connection: Connection, owner: bytes) -> None:
    """After a backup was restored gateways would wait for positions that come in years."""
    session_id = start(connection, owner, "1")
    end_session(connection, owner, session_id, NOW)
    assert read_revocations(connection, 5_000) == ([session_id], 1)


def test_pruning_forgets_what_is_over_and_nothing_else(connection: Connection, owner: bytes) -> None:
    """The database would grow for ever; or sessions would be lost."""
    living, ended, expired = (start(connection, owner, str(n), lives=10 * (n != 2) + 1) for n in range(3))
    end_session(connection, owner, ended, NOW)
    moved = used(connection, "0")
    assert prune(connection, NOW, NOW, NOW) is False
    assert count(connection) == [3, 4, 1]
    assert prune(connection, NOW + 1, NOW + 1, NOW + 2) is False
    assert count(connection) == [1, 1, 0]
    assert lives(connection, living)
    assert isinstance(use(connection, moved.token, NOW + 1), Successor)
    assert not lives(connection, expired)


def test_positions_are_not_given_out_again(connection: Connection, owner: bytes) -> None:
    """A gateway would never hear of sessions that ended after old ones were forgotten."""
    first, second = start(connection, owner, "1"), start(connection, owner, "2")
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
        end_session(connection, owner, start(connection, owner, str(number)), NOW)
    turns = 1
    while prune(connection, NOW + 1, NOW + 1, NOW + 1):
        turns += 1
    assert turns == 3
    assert count(connection) == [0, 0, 0]
