"""Statements about users: plain functions that run in a transaction of `runtime.sql`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from palaver.auth.domain import User
from palaver.auth.names import Place, fold, range_of_prefix
from palaver.auth.schema import users
from palaver.contracts.errors import CONFLICT, NOT_FOUND, PalaverError
from palaver.runtime.sql.columns import MYSQL
from palaver.runtime.texts import bytes_of

# A page of users ends early at so many bytes: others decide how long their profiles are
PAGE_BYTES = 1024 * 1024
# About what a user takes without city and interests
USER_BYTES = 300

_USER_COLUMNS = (
    users.c.id,
    users.c.email,
    users.c.name,
    users.c.surname,
    users.c.birthday,
    users.c.sex,
    users.c.city,
    users.c.interests,
    users.c.created_at,
)
_PLACE = (users.c.surname_folded, users.c.name_folded, users.c.id)


def add_user(connection: Connection, user: User, password_hash: str) -> None:
    """Stores a user. Raises `conflict` where the email is taken."""
    row = {
        "id": user.id,
        "email": user.email,
        "password_hash": password_hash,
        "birthday": user.birthday,
        "sex": user.sex,
        "city": user.city,
        "interests": user.interests,
        "created_at": user.created_at,
        **name_columns("name", user.name),
        **name_columns("surname", user.surname),
    }
    try:
        connection.execute(insert(users), row)
    except IntegrityError:
        # Only the email can be there; or the answer to a commit was lost, and the transaction is repeated
        mine = select(users.c.id).where(users.c.id == user.id)
        if connection.execute(mine).first() is not None:
            return
        raise PalaverError(CONFLICT, "there is an account with this email", field="email") from None


def change_user(connection: Connection, user_id: bytes, changes: dict[str, Any]) -> User:
    """Changes columns of a profile; returns the user. Raises `not_found`."""
    values = dict(changes)
    for column in ("name", "surname"):
        if column in values:
            values |= name_columns(column, values[column])
    if values:
        connection.execute(update(users).where(users.c.id == user_id).values(values))
    return read_user(connection, user_id)


def name_columns(column: str, value: str) -> dict[str, Any]:
    """A name's column, and the one that searches read."""
    return {column: value, f"{column}_folded": fold(value)}


def read_user(connection: Connection, user_id: bytes) -> User:
    """Raises `not_found`."""
    row = connection.execute(select(*_USER_COLUMNS).where(users.c.id == user_id)).first()
    return user_of_row(row)


def read_user_by_email(connection: Connection, email: str) -> User:
    """`email` is normalised. Raises `not_found`."""
    row = connection.execute(select(*_USER_COLUMNS).where(users.c.email == email)).first()
    return user_of_row(row)


def has_email(connection: Connection, email: str) -> bool:
    """Whether an account has the normalised email."""
    return connection.execute(select(users.c.id).where(users.c.email == email)).first() is not None


def read_password(connection: Connection, email: str) -> tuple[bytes, str] | None:
    """The id and the password's hash of the user with a normalised email."""
    row = connection.execute(select(users.c.id, users.c.password_hash).where(users.c.email == email)).first()
    return None if row is None else (row.id, row.password_hash)


def replace_password_hash(connection: Connection, user_id: bytes, old: str, new: str) -> None:
    """Stores another hash of the same password, unless the password was changed meanwhile."""
    same = and_(users.c.id == user_id, users.c.password_hash == old)
    connection.execute(update(users).where(same).values(password_hash=new))


def read_names(connection: Connection, ids: Sequence[bytes]) -> list[tuple[bytes, str, str]]:
    """Id, name and surname of those that exist."""
    found = connection.execute(select(users.c.id, users.c.name, users.c.surname).where(users.c.id.in_(ids)))
    return [(row.id, row.name, row.surname) for row in found]


def find_users(
    connection: Connection,
    words: Sequence[bytes],
    caller: bytes,
    after: Place | None,
    limit: int,
    offset: int,
) -> tuple[list[User], Place | None]:
    """A page of the users whose names start with one or two folded words, without the caller.

    Returns the place of its last user, where more come behind it.
    """
    places: set[Place] = set()
    for surname, name in ways_to_match(words):
        matching = conditions(surname, name, after, connection.dialect.name)
        found = select(*_PLACE).where(*matching, users.c.id != caller)
        found = found.order_by(*_PLACE).limit(offset + limit + 1)
        places.update(map(place_of_row, connection.execute(found)))
    page = sorted(places)[offset : offset + limit + 1]
    shown = read_page(connection, page[:limit])
    return shown, page[len(shown) - 1] if shown and len(page) > len(shown) else None


def count_found(connection: Connection, words: Sequence[bytes], caller: bytes) -> int:
    """How many users all pages of a search have."""
    ids = [
        select(users.c.id).where(
            *conditions(surname, name, None, connection.dialect.name), users.c.id != caller
        )
        for surname, name in ways_to_match(words)
    ]
    # UNION: who matches both ways counts once
    every = ids[0].union(*ids[1:]).subquery()
    return connection.execute(select(func.count()).select_from(every)).scalar_one()


def list_users(connection: Connection, caller: bytes, limit: int, offset: int) -> tuple[list[User], int]:
    """A page of everybody but the caller, and how many that are."""
    found = select(*_PLACE).where(users.c.id != caller).order_by(*_PLACE).limit(limit).offset(offset)
    page = [place_of_row(row) for row in connection.execute(found)]
    total = select(func.count()).select_from(users).where(users.c.id != caller)
    return read_page(connection, page), connection.execute(total).scalar_one()


def ways_to_match(words: Sequence[bytes]) -> list[tuple[bytes | None, bytes | None]]:
    """The prefixes of surname and name of each way in which a user matches.

    Each is one range of one index; their OR would be a scan of all users.
    """
    if len(words) == 1:
        return [(words[0], None), (None, words[0])]
    first, second = words
    return [(second, first), (first, second)]


def conditions(
    surname: bytes | None, name: bytes | None, after: Place | None, dialect: str
) -> list[ColumnElement[bool]]:
    """What is true of the users who match in one way and come after a place."""
    if surname is None:
        assert name is not None
        return [starts_with(users.c.name_folded, name), *([] if after is None else [comes_after(after)])]
    # A page starts in the index where the last one ended, not where the prefix begins: ids are never empty
    least, above = range_of_prefix(surname)
    first = (least, b"", b"")
    start = first if after is None else max(after, first)
    # Each engine reads one range of the index for its own spelling, and all of the index for the other
    begins = comes_after(start) if dialect == MYSQL else tuple_(*_PLACE) > tuple_(*start)
    found = [begins, users.c.surname_folded < above]
    return found if name is None else [*found, starts_with(users.c.name_folded, name)]


def comes_after(place: Place) -> ColumnElement[bool]:
    """`(surname, name, id) > place`, spelt out: as a row, SQLite would walk the surnames for it where the
    range of names is to be filtered."""
    surname, name, id_ = place
    columns = users.c
    return or_(
        columns.surname_folded > surname,
        and_(columns.surname_folded == surname, columns.name_folded > name),
        and_(columns.surname_folded == surname, columns.name_folded == name, columns.id > id_),
    )


def starts_with(column: ColumnElement[bytes], prefix: bytes) -> ColumnElement[bool]:
    """Whether a folded name starts with a folded prefix."""
    least, above = range_of_prefix(prefix)
    return and_(column >= least, column < above)


def read_page(connection: Connection, page: Sequence[Place]) -> list[User]:
    """The users at these places, in their order; fewer where their profiles are long."""
    rows = connection.execute(select(*_USER_COLUMNS).where(users.c.id.in_([place[2] for place in page])))
    found = {row.id: user_of_row(row) for row in rows}
    shown: list[User] = []
    room = PAGE_BYTES
    for place in page:
        user = found[place[2]]
        room -= USER_BYTES + bytes_of(user.city) + bytes_of(user.interests)
        if room < 0 and shown:
            break
        shown.append(user)
    return shown


def place_of_row(row: Row[bytes, bytes, bytes]) -> Place:
    """The place as a plain tuple, which compares with others."""
    return row[0], row[1], row[2]


def user_of_row(row: Row[*tuple[Any, ...]] | None) -> User:
    """Raises `not_found` for no row."""
    if row is None:
        raise PalaverError(NOT_FOUND, "there is no such user")
    return User(*row)
