"""Locks between transactions of several replicas, on a real MariaDB."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from palaver.auth.domain import Client, Session, User
from palaver.auth.keys import ensure_key
from palaver.auth.session_rows import add_session, end_session, require_session
from palaver.auth.user_rows import add_user
from palaver.contracts.ids import new_id
from palaver.runtime.sql.mysql_errors import LOCK_TIMEOUT
from tests.harness.auth_service import AuthHome
from tests.harness.mariadb import MariadbSchema

NOW = 1_000_000


@pytest.fixture
def auth_home(tmp_path: Path, auth_schema: MariadbSchema) -> AuthHome:
    """On the server: a file lets one transaction write at a time anyway."""
    auth_schema.empty("alembic_version", "locks")
    return AuthHome(tmp_path, auth_schema)


@pytest.fixture
def other(connection: Connection, auth_home: AuthHome) -> Iterator[Connection]:
    """A second connection, which waits for no lock."""
    del connection
    assert auth_home.schema is not None
    with auth_home.schema.connection() as other:
        other.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 0")
        other.rollback()
        yield other


def make_session(connection: Connection, user_id: bytes) -> bytes:
    session = Session(new_id(), user_id, NOW, NOW, NOW + 1_000, "an agent", "192.0.2.1")
    add_session(connection, session, Client("192.0.2.1", "an agent"), new_id(), 100)
    return session.id


def make_user(connection: Connection) -> bytes:
    id_ = new_id()
    add_user(
        connection, User(id_, f"{id_.hex()}@b.test", "A", "B", date(1990, 1, 1), "other", "", "", 7), "x"
    )
    return id_


def waits(connection: Connection, work: Callable[[], object]) -> bool:
    """Whether it would wait for another transaction. It is rolled back then."""
    try:
        work()
    except DBAPIError as error:
        connection.rollback()
        return str(LOCK_TIMEOUT) in str(error)
    return False


def test_ends_are_listed_in_the_order_of_commits(connection: Connection, other: Connection) -> None:
    """A gateway that has read a later end would never hear of one that was committed after it."""
    user_id = make_user(connection)
    first, second = make_session(connection, user_id), make_session(connection, user_id)
    connection.commit()
    assert end_session(connection, user_id, first, NOW)
    assert waits(other, lambda: end_session(other, user_id, second, NOW))
    connection.commit()
    assert end_session(other, user_id, second, NOW)


def test_sign_ins_of_a_user_come_one_after_the_other(connection: Connection, other: Connection) -> None:
    """Each would count the sessions without the other's, and a user have more than the most."""
    users = [make_user(connection) for _ in range(2)]
    connection.commit()
    make_session(connection, users[0])
    assert waits(other, lambda: make_session(other, users[0]))
    # Others sign in meanwhile
    make_session(other, users[1])


def test_one_replica_makes_the_first_key(connection: Connection, other: Connection) -> None:
    """Two keys would sign, and a rotation retire one of them."""
    ensure_key(connection, NOW)
    assert waits(other, lambda: ensure_key(other, NOW))


def test_a_session_lives_until_its_change_is_made(connection: Connection, other: Connection) -> None:
    """A profile would change after the sign-out of whoever changed it."""
    user_id = make_user(connection)
    session_id = make_session(connection, user_id)
    connection.commit()
    require_session(connection, session_id, NOW, kept=True)
    assert waits(other, lambda: end_session(other, user_id, session_id, NOW))
