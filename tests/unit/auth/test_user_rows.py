"""What is said to the database about users."""

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, event

from palaver.auth import user_rows
from palaver.auth.domain import User
from palaver.auth.names import Place, fold, words_of_query
from palaver.auth.schema import users
from palaver.contracts.errors import CONFLICT, NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id

NOBODY = b"\0" * 16


def user(name: str, surname: str, email: str = "") -> User:
    id_ = new_id()
    return User(id_, email or f"{id_.hex()}@b.test", name, surname, date(1990, 1, 1), "other", "x", "y", 7)


def add(connection: Connection, *names: tuple[str, str]) -> list[User]:
    added = [user(*one) for one in names]
    for one in added:
        user_rows.add_user(connection, one, "a hash")
    return added


def search(connection: Connection, query: str, limit: int = 100, caller: bytes = NOBODY) -> list[User]:
    """What all pages have, asked for one after another."""
    found: list[User] = []
    after: Place | None = None
    while True:
        page, after = user_rows.find_users(connection, words_of_query(query), caller, after, limit, 0)
        assert len(page) <= limit
        found += page
        if after is None:
            return found


def names(found: list[User]) -> list[str]:
    return [f"{one.name} {one.surname}" for one in found]


def test_user_comes_back_as_it_went(connection: Connection) -> None:
    """Profiles would lose or change what users wrote."""
    [added] = add(connection, ("Zoë 🦊", "Ünal"))
    assert user_rows.read_user(connection, added.id) == added
    assert user_rows.read_user_by_email(connection, added.email) == added
    assert user_rows.read_password(connection, added.email) == (added.id, "a hash")
    assert user_rows.read_names(connection, [added.id, new_id()]) == [(added.id, "Zoë 🦊", "Ünal")]


def test_unknown_user_is_not_found(connection: Connection) -> None:
    """A request for somebody who is gone would crash."""
    for call in (user_rows.read_user, user_rows.read_user_by_email):
        with pytest.raises(PalaverError) as caught:
            call(connection, b"?" * 16 if call is user_rows.read_user else "?")  # type: ignore[arg-type] # one of each
        assert caught.value.kind is NOT_FOUND
    assert user_rows.read_password(connection, "nobody@b.test") is None
    assert user_rows.read_names(connection, []) == []


def test_email_is_taken_once(connection: Connection) -> None:
    """Two people would share an account's email, and sign in to whichever is found first."""
    user_rows.add_user(connection, user("A", "B", "a@b.test"), "a hash")
    with pytest.raises(PalaverError) as caught:
        user_rows.add_user(connection, user("C", "D", "a@b.test"), "a hash")
    assert (caught.value.kind, caught.value.field) == (CONFLICT, "email")


def test_a_repeated_sign_up_is_the_same(connection: Connection) -> None:
    """Where the answer to a commit was lost, a new user would be told that somebody else has the email."""
    one = user("A", "B", "a@b.test")
    for _ in range(2):
        user_rows.add_user(connection, one, "a hash")
    assert user_rows.list_users(connection, NOBODY, 10, 0) == ([one], 1)


def test_changed_name_is_found_by_the_new_one(connection: Connection) -> None:
    """Whoever marries would be found under the old name alone."""
    [added] = add(connection, ("Alice", "Liddell"))
    changed = user_rows.change_user(connection, added.id, {"surname": "Hargreaves", "city": "Lyndhurst"})
    assert (changed.name, changed.surname, changed.city) == ("Alice", "Hargreaves", "Lyndhurst")
    assert search(connection, "harg") == [changed]
    assert search(connection, "lidd") == []
    assert user_rows.change_user(connection, added.id, {}) == changed


def test_hash_is_replaced_unless_it_changed(connection: Connection) -> None:
    """A password that was changed while somebody signed in with the old one would be undone."""
    [added] = add(connection, ("A", "B"))
    user_rows.replace_password_hash(connection, added.id, "another hash", "new")
    assert user_rows.read_password(connection, added.email) == (added.id, "a hash")
    user_rows.replace_password_hash(connection, added.id, "a hash", "new")
    assert user_rows.read_password(connection, added.email) == (added.id, "new")


def test_one_word_is_of_name_or_surname(connection: Connection) -> None:
    """Users would not be found by one of their names, or come twice."""
    add(connection, ("Alice", "Cooper"), ("Vera", "Ali"), ("Ali", "Ali"), ("Bob", "Palin"))
    assert names(search(connection, "ALI")) == ["Ali Ali", "Vera Ali", "Alice Cooper"]


def test_two_words_in_either_order(connection: Connection) -> None:
    """A full name would be found in one order of its parts alone."""
    add(connection, ("Alice", "Cooper"), ("Cooper", "Alice"), ("Alice", "Liddell"))
    assert names(search(connection, "ali coo")) == ["Cooper Alice", "Alice Cooper"]
    assert names(search(connection, "coo ali")) == ["Cooper Alice", "Alice Cooper"]
    assert names(search(connection, "ali lid")) == ["Alice Liddell"]


def test_caller_is_left_out(connection: Connection) -> None:
    """Everybody would find themselves."""
    one, other = add(connection, ("Ann", "A"), ("Ann", "B"))
    assert search(connection, "ann", caller=one.id) == [other]
    assert user_rows.count_found(connection, [b"ann"], one.id) == 1
    assert user_rows.list_users(connection, one.id, 10, 0) == ([other], 1)


def test_namesakes_are_paged_without_loss(connection: Connection) -> None:
    """Of users with the same name some would never be listed, or twice."""
    added = add(connection, *[("Ann", "Lee")] * 7)
    ids = [one.id for one in added]
    for limit in (1, 2, 3, 6, 7, 8):
        assert [one.id for one in search(connection, "ann lee", limit)] == ids
    by_offset = [
        one.id
        for offset in range(0, 9, 3)
        for one in user_rows.find_users(connection, [b"ann"], NOBODY, None, 3, offset)[0]
    ]
    assert by_offset == ids
    assert [one.id for one in user_rows.list_users(connection, NOBODY, 4, 4)[0]] == ids[4:]


def test_a_page_of_long_profiles_ends_early(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others could make a search too large to be answered, by long profiles; or users be passed over."""
    monkeypatch.setattr(user_rows, "USER_BYTES", 100)
    monkeypatch.setattr(user_rows, "PAGE_BYTES", 250)
    ids = [one.id for one in add(connection, *[("Ann", "Lee")] * 7)]
    page, last = user_rows.find_users(connection, [b"ann"], NOBODY, None, 7, 0)
    assert [one.id for one in page] == ids[:2]
    assert last is not None
    assert [one.id for one in search(connection, "ann lee", 7)] == ids
    monkeypatch.setattr(user_rows, "PAGE_BYTES", 50)
    assert [one.id for one in search(connection, "ann lee", 7)] == ids
    assert len(user_rows.list_users(connection, NOBODY, 7, 0)[0]) == 1


any_name = st.text(
    st.sampled_from("aAbBäÄß\u017fİ\u0131éΣς\u0301Ω\ud7ff\ue000\U0001f600\U0010ffff"), min_size=1, max_size=4
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(any_name, any_name), max_size=12), st.lists(any_name, min_size=1, max_size=2))
def test_pages_are_what_a_scan_finds(
    connection: Connection, people: list[tuple[str, str]], words: list[str]
) -> None:
    """Somebody with a name of some script would not be found, or break the order of pages."""
    connection.execute(delete(users))
    added = add(connection, *people)
    folded = [fold(word) for word in words]

    def matches(one: User) -> bool:
        name, surname = fold(one.name), fold(one.surname)
        if len(folded) == 1:
            return name.startswith(folded[0]) or surname.startswith(folded[0])
        first, second = folded
        return (name.startswith(first) and surname.startswith(second)) or (
            name.startswith(second) and surname.startswith(first)
        )

    wanted = sorted(filter(matches, added), key=lambda one: (fold(one.surname), fold(one.name), one.id))
    assert search(connection, " ".join(words), limit=2) == wanted
    assert user_rows.count_found(connection, folded, NOBODY) == len(wanted)


def plans_of(connection: Connection, *call: Any) -> list[str]:
    """How SQLite would run each SELECT of a call."""
    said: list[tuple[str, Any]] = []

    def listen(_c: Any, _u: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", listen)
    work, *args = call
    work(connection, *args)
    event.remove(connection, "before_cursor_execute", listen)
    plans = []
    for statement, parameters in said:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.append(" / ".join(row[3] for row in rows))
    return plans


@pytest.mark.parametrize("auth_home", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [None, (b"alb", b"b", b"c")])
@pytest.mark.parametrize(
    ("words", "indexes"),
    [([b"al"], ["surname", "name"]), ([b"al", b"be"], ["surname", "surname"])],
)
def test_search_walks_an_index(
    connection: Connection, words: list[bytes], indexes: list[str], after: Place | None
) -> None:
    """A search would read every account, and take seconds in a large directory."""
    add(connection, ("Alice", "Bee"))
    *walks, users_of_page = plans_of(connection, user_rows.find_users, words, NOBODY, after, 10, 0)
    assert "SEARCH users USING PRIMARY KEY" in users_of_page
    assert len(walks) == len(indexes)
    for walk, index in zip(walks, indexes, strict=True):
        # The range ends in the index, and nothing but the index is read
        assert f"COVERING INDEX users_by_{index} " in walk
        assert f"{index}_folded<?" in walk
    if after is not None:
        assert "(surname_folded,name_folded,id)>(?,?,?)" in walks[0]
    [counting] = plans_of(connection, user_rows.count_found, words, NOBODY)
    assert "SCAN users" not in counting
    assert counting.count("COVERING INDEX") == 2
    assert counting.count("_folded<?") >= 2


@pytest.mark.parametrize("auth_home", ["sqlite"], indirect=True)
def test_direct_lookups_use_indexes(connection: Connection) -> None:
    """Each sign-in would read every account."""
    [added] = add(connection, ("Alice", "Bee"))
    plans = plans_of(connection, user_rows.has_email, added.email)
    plans += plans_of(connection, user_rows.read_password, added.email)
    plans += plans_of(connection, user_rows.read_user, added.id)
    plans += plans_of(connection, user_rows.read_names, [added.id])
    assert all("SEARCH users USING" in plan for plan in plans), plans
    assert "COVERING INDEX users_by_email" in plans[0]


@pytest.mark.parametrize("auth_home", ["mariadb"], indirect=True)
def test_a_later_page_reads_no_earlier_one_on_a_server(connection: Connection) -> None:
    """Each page of many namesakes would take longer than the one before, and the last ones seconds."""
    added = add(connection, *[("Ann", "Lee")] * 200)
    last = added[-10]
    after = fold(last.surname), fold(last.name), last.id
    before = rows_read(connection)
    page, _ = user_rows.find_users(connection, [b"lee"], NOBODY, after, 5, 0)
    assert rows_read(connection) - before < 50
    assert [one.id for one in page] == [one.id for one in added[-9:-4]]


def rows_read(connection: Connection) -> int:
    """How many rows MariaDB has read for this connection."""
    found = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'").all()
    return sum(int(number) for _, number in found)
