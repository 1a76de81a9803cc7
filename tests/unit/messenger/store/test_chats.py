"""Chats and members in a real database."""

import asyncio
import re
from typing import Any

import pytest
from sqlalchemy import Connection, Dialect, inspect, select, update
from sqlalchemy.types import TypeEngine

from palaver.contracts.errors import FORBIDDEN, INVALID, NOT_FOUND, ErrorKind, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import ChatView
from palaver.messenger.migrations import MIGRATIONS
from palaver.messenger.store.chat_lists import (
    LISTED_MEMBERS,
    ListPosition,
    count_chats,
    cursor_of,
    list_chats,
    list_chats_from,
    load_chat,
    position_of,
)
from palaver.messenger.store.chats import (
    add_members,
    create_group,
    find_direct_chat,
    open_direct_chat,
    remove_member,
)
from palaver.messenger.store.messages import read_at
from palaver.messenger.store.schema import chats, members, metadata, presence
from palaver.runtime.sql.migrations import migrate
from tests.harness.journal_rows import count_rows, move_receipt, write_messages
from tests.harness.messenger_database import MessengerDatabase

ALICE, BOB, CAROL, DAVE = (new_id() for _ in range(4))


def refusal(kind: ErrorKind, work: object, *args: object) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        work(*args)  # type: ignore[operator]
    assert caught.value.kind is kind
    return caught.value


def group(connection: Connection, *user_ids: bytes) -> bytes:
    view, _ = create_group(connection, new_id(), ALICE, "Lunch", user_ids, 10)
    return view.id


def users_of(view: ChatView) -> set[bytes]:
    return {member.user_id for member in view.members}


def version_of(connection: Connection, chat_id: bytes) -> int:
    query = select(chats.c.members_version).where(chats.c.id == chat_id)
    return int(connection.execute(query).scalar_one())


def text_at(connection: Connection, chat_id: bytes, seq: int) -> str:
    """The text of the message that a list shows: views name its seq, and the reader finds it."""
    return read_at(connection, [(chat_id, seq)])[chat_id, seq].text


def type_of(kind: TypeEngine[Any], dialect: Dialect) -> str:
    """A column's type. MySQL shows a boolean as a number, and numbers with their width."""
    name = kind.compile(dialect)
    if dialect.name == "mysql":
        name = re.sub(r"((?:SMALL|TINY|BIG)?INT(?:EGER)?)\(\d+\)", r"\1", name.replace("BOOL", "TINYINT"))
    return name.split(" CHARACTER SET")[0]


def test_the_schema_is_what_the_scripts_make(connection: Connection) -> None:
    """Without it the code would use columns or indexes that no installed database has."""
    found, dialect = inspect(connection), connection.dialect
    for table in metadata.sorted_tables:
        made = {column["name"]: column for column in found.get_columns(table.name)}
        assert made.keys() == {column.name for column in table.columns}
        for column in table.columns:
            assert made[column.name]["nullable"] == column.nullable
            assert type_of(made[column.name]["type"], dialect) == type_of(column.type, dialect)
        key = found.get_pk_constraint(table.name)["constrained_columns"]
        assert key == [column.name for column in table.primary_key.columns]
        indexes = {
            index["name"]: index["column_names"]
            for index in found.get_indexes(table.name)
            if not index["unique"]
        }
        assert indexes == {
            index.name: [column.name for column in index.columns]
            for index in table.indexes
            if index._ddl_if is None or index._ddl_if.dialect == dialect.name
        }
    assert found.get_unique_constraints("chats")[0]["column_names"] == ["pair"]
    assert found.get_foreign_keys("members")[0]["referred_table"] == "chats"


def test_migrating_again_changes_nothing(connection: Connection) -> None:
    """Without it a second start could lose what the first one stored."""
    open_direct_chat(connection, ALICE, BOB, 10)
    if connection.dialect.name == "mysql":
        # See what it does there in the tests of `mysql_migrations.py`
        return
    assert migrate(connection, MIGRATIONS) is False
    assert count_rows(connection, "chats") == 1


# ---- direct chats ----


def test_a_pair_has_one_chat(connection: Connection) -> None:
    """Without it the two sides would talk past each other in chats of their own."""
    first, existed = open_direct_chat(connection, ALICE, BOB, 10)
    assert not existed
    again, existed = open_direct_chat(connection, BOB, ALICE, 20)
    assert existed
    assert again.id == first.id
    assert users_of(again) == {ALICE, BOB}
    assert again.created_by == ALICE
    assert (again.created_at, again.active_at, again.last_message, again.unread) == (10, 10, None, 0)
    other, _ = open_direct_chat(connection, ALICE, CAROL, 20)
    assert other.id != first.id


async def test_both_sides_at_once_get_one_chat(messenger_db: MessengerDatabase) -> None:
    """Without it two people who greet each other at the same moment would end up in two chats."""
    databases = [messenger_db.open_database() for _ in range(4)]
    found = await asyncio.gather(
        *(
            database.write(open_direct_chat, *pair, 10)
            for database in databases
            for pair in ((ALICE, BOB), (BOB, ALICE))
        )
    )
    for database in databases:
        await database.close()
    assert len({view.id for view, _ in found}) == 1
    assert sorted(existed for _, existed in found) == [False, *[True] * 7]


def test_a_lost_race_for_a_pair_gives_the_winners_chat(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, on databases with many writers, the slower side would get an error and no chat."""
    winner, _ = open_direct_chat(connection, BOB, ALICE, 10)
    looks = iter([None, winner])
    monkeypatch.setattr("palaver.messenger.store.chats.find_direct_chat", lambda *_: next(looks))
    view, existed = open_direct_chat(connection, ALICE, BOB, 20)
    assert (view.id, existed) == (winner.id, True)
    assert count_rows(connection, "chats") == 1
    assert count_rows(connection, "members") == 2


def test_a_pair_without_a_chat_is_not_found(connection: Connection) -> None:
    """Without it looking for a chat would make one, or show somebody else's."""
    open_direct_chat(connection, ALICE, BOB, 10)
    assert find_direct_chat(connection, ALICE, CAROL) is None


def test_the_members_of_a_direct_chat_stay(connection: Connection) -> None:
    """Without it a third person could be let into what two said in private."""
    chat, _ = open_direct_chat(connection, ALICE, BOB, 10)
    refusal(FORBIDDEN, add_members, connection, chat.id, ALICE, [CAROL], 20, 1000)
    refusal(FORBIDDEN, remove_member, connection, chat.id, ALICE, BOB)
    refusal(FORBIDDEN, remove_member, connection, chat.id, ALICE, ALICE)


# ---- groups ----


def test_a_repeated_creation_gives_the_group_of_then(connection: Connection) -> None:
    """Without it a client that repeats a request after a lost answer would make a second group."""
    chat_id = new_id()
    first, existed = create_group(connection, chat_id, ALICE, "Lunch", [BOB], 10)
    assert not existed
    again, existed = create_group(connection, chat_id, ALICE, "Dinner", [CAROL], 20)
    assert existed
    assert again == first
    assert users_of(again) == {ALICE, BOB}


def test_any_member_adds_members(connection: Connection) -> None:
    """Without it only the creator could invite, or an outsider could let themselves in."""
    chat_id = group(connection, BOB)
    before = version_of(connection, chat_id)
    view, changed = add_members(connection, chat_id, BOB, [CAROL, ALICE], 20, 1000)
    assert changed
    assert users_of(view) == {ALICE, BOB, CAROL}
    assert version_of(connection, chat_id) == before + 1
    refusal(NOT_FOUND, add_members, connection, chat_id, DAVE, [DAVE], 20, 1000)


def test_adding_a_member_again_changes_nothing(connection: Connection) -> None:
    """Without it every repeated request would make all replicas read the members anew."""
    chat_id = group(connection, BOB)
    before = version_of(connection, chat_id)
    _, changed = add_members(connection, chat_id, ALICE, [BOB], 20, 1000)
    assert not changed
    assert version_of(connection, chat_id) == before


def test_a_group_stays_within_its_limit(connection: Connection) -> None:
    """Without it a group would outgrow what one delivery can carry."""
    chat_id = group(connection, BOB)
    error = refusal(INVALID, add_members, connection, chat_id, ALICE, [CAROL, DAVE], 20, 3)
    assert error.field == "user_ids"
    add_members(connection, chat_id, ALICE, [CAROL, BOB], 20, 3)
    remove_member(connection, chat_id, ALICE, BOB)
    add_members(connection, chat_id, ALICE, [DAVE], 20, 3)


def test_a_new_member_sees_the_history_and_has_nothing_unread(connection: Connection) -> None:
    """Without it new members would miss what was said, or be told of thousands of unread messages."""
    chat_id = group(connection, BOB)
    write_messages(connection, chat_id, ALICE, ["one", "two"], 50)
    add_members(connection, chat_id, ALICE, [CAROL], 60, 1000)
    view = load_chat(connection, chat_id, CAROL)
    assert (view.last_seq, view.unread, view.active_at) == (2, 0, 50)
    assert text_at(connection, chat_id, view.last_seq) == "two"
    assert [chat.id for chat in list_chats(connection, CAROL, 10, None)[0]] == [chat_id]


def test_the_creator_removes_anybody_others_only_themselves(connection: Connection) -> None:
    """Without it any member could throw out the others, or nobody could leave."""
    chat_id = group(connection, BOB, CAROL, DAVE)
    refusal(FORBIDDEN, remove_member, connection, chat_id, BOB, CAROL)
    remove_member(connection, chat_id, BOB, BOB)
    remove_member(connection, chat_id, ALICE, CAROL)
    assert users_of(load_chat(connection, chat_id, ALICE)) == {ALICE, DAVE}
    error = refusal(NOT_FOUND, remove_member, connection, chat_id, ALICE, CAROL)
    assert error.field == "user_id"
    refusal(NOT_FOUND, remove_member, connection, chat_id, CAROL, DAVE)
    assert version_of(connection, chat_id) == 3


def test_who_left_sees_the_chat_as_it_was(connection: Connection) -> None:
    """Without it somebody who was removed could follow what is said after that, and by whom."""
    chat_id = group(connection, BOB, CAROL)
    write_messages(connection, chat_id, ALICE, ["for all"], 50)
    remove_member(connection, chat_id, ALICE, BOB)
    write_messages(connection, chat_id, ALICE, ["not for Bob", "nor this"], 60)
    view = load_chat(connection, chat_id, BOB)
    assert (view.left, view.last_seq, view.unread, view.active_at) == (True, 1, 1, 50)
    assert text_at(connection, chat_id, view.last_seq) == "for all"
    assert users_of(view) == {BOB}
    assert list_chats(connection, BOB, 10, None)[0] == [view]
    assert users_of(load_chat(connection, chat_id, ALICE)) == {ALICE, CAROL}


def test_who_comes_back_is_a_member_again(connection: Connection) -> None:
    """Without it a re-added member would stay cut off at the seq where they once left."""
    chat_id = group(connection, BOB)
    remove_member(connection, chat_id, BOB, BOB)
    write_messages(connection, chat_id, ALICE, ["while Bob was away"], 60)
    view, changed = add_members(connection, chat_id, ALICE, [BOB], 70, 1000)
    assert changed
    assert users_of(view) == {ALICE, BOB}
    view = load_chat(connection, chat_id, BOB)
    assert (view.left, view.last_seq, view.unread, view.active_at) == (False, 1, 0, 60)


# ---- showing ----


def test_outsiders_are_told_that_there_is_no_chat(connection: Connection) -> None:
    """Without it ids of chats could be tried out to learn which exist."""
    chat_id = group(connection, BOB)
    hidden = refusal(NOT_FOUND, load_chat, connection, chat_id, CAROL)
    missing = refusal(NOT_FOUND, load_chat, connection, new_id(), CAROL)
    assert (hidden.message, hidden.field) == (missing.message, missing.field)


def test_unread_is_what_came_behind_the_read_receipt(connection: Connection) -> None:
    """Without it the badge of a chat would show a wrong number."""
    chat, _ = open_direct_chat(connection, ALICE, BOB, 10)
    write_messages(connection, chat.id, ALICE, ["1", "2", "3"], 50)
    assert load_chat(connection, chat.id, ALICE).unread == 0
    assert load_chat(connection, chat.id, BOB).unread == 3
    move_receipt(connection, chat.id, BOB, 3, 2)
    assert load_chat(connection, chat.id, BOB).unread == 1


def test_members_carry_receipts_and_when_they_were_seen(connection: Connection) -> None:
    """Without it clients could not show ticks, nor "last seen"."""
    chat, _ = open_direct_chat(connection, ALICE, BOB, 10)
    write_messages(connection, chat.id, ALICE, ["1", "2"], 50)
    move_receipt(connection, chat.id, BOB, 2, 1)
    connection.execute(presence.insert().values(user_id=BOB, online=True, last_seen_at=77))
    seen = {member.user_id: member for member in load_chat(connection, chat.id, ALICE).members}
    assert seen[BOB] == (BOB, 10, 2, 1, True, 77)
    assert seen[ALICE] == (ALICE, 10, 2, 2, False, 0)


def test_a_list_shows_some_members_of_a_large_group(connection: Connection) -> None:
    """A few groups of a thousand would make the list too large to be shown: others decide who is in them."""
    many = [new_id() for _ in range(30)]
    large = group(connection, *many)
    small = group(connection, BOB)
    for viewer in (ALICE, many[-1]):
        page = {view.id: view for view in list_chats(connection, viewer, 10, None)[0]}
        shown = page[large]
        assert (len(shown.members), shown.member_count) == (LISTED_MEMBERS, 31)
        assert viewer in users_of(shown)
        assert len(users_of(shown)) == LISTED_MEMBERS
        assert [view.members for view in list_chats_from(connection, viewer, 10, 0)] == [
            view.members for view in page.values()
        ]
        whole = load_chat(connection, large, viewer)
        assert (len(whole.members), whole.member_count) == (31, 31)
        assert set(shown.members) <= set(whole.members)
    assert {view.id: view.member_count for view in list_chats(connection, ALICE, 10, None)[0]} == {
        large: 31,
        small: 2,
    }
    remove_member(connection, large, many[0], many[0])
    [left] = list_chats(connection, many[0], 10, None)[0]
    assert (users_of(left), left.member_count) == ({many[0]}, 1)
    assert load_chat(connection, large, ALICE).member_count == 30


def test_a_title_from_before_its_bound_is_cut_in_lists_alone(connection: Connection) -> None:
    """A group with a title of a megabyte would break the lists of its members for good."""
    if connection.dialect.name == "mysql":
        pytest.skip("titles had their bound before there was MySQL")
    title = "e" + "\N{COMBINING ACUTE ACCENT}" * 100_000
    view, _ = create_group(connection, new_id(), ALICE, title, [BOB], 10)
    assert load_chat(connection, view.id, BOB).title == title
    [shown] = list_chats(connection, BOB, 10, None)[0]
    assert title.startswith(shown.title)
    assert 1_000 < len(shown.title.encode()) <= 1_024


def many_chats(connection: Connection, count: int) -> list[bytes]:
    """Alice's direct chats, newest activity first; pairs of them are of one moment."""
    found = []
    for number in range(count):
        chat, _ = open_direct_chat(connection, ALICE, new_id(), 10)
        write_messages(connection, chat.id, ALICE, [str(number)], 100 + number // 2)
        found.append((100 + number // 2, chat.id))
    return [chat_id for _, chat_id in sorted(found, reverse=True)]


def test_pages_by_cursor_give_each_chat_once(connection: Connection) -> None:
    """Without it a user with many chats would miss some, or see some twice."""
    expected = many_chats(connection, 11)
    found: list[bytes] = []
    cursor = ""
    pages = 0
    while True:
        page, more = list_chats(connection, ALICE, 3, position_of(cursor))
        found += [view.id for view in page]
        assert all(users_of(view) >= {ALICE} and len(view.members) == 2 for view in page)
        pages += 1
        cursor = cursor_of(more)
        if not cursor:
            break
    assert found == expected
    assert pages == 4


def test_the_last_page_names_no_next_one(connection: Connection) -> None:
    """Without it a client would ask for ever, or for one empty page too many."""
    many_chats(connection, 4)
    page, more = list_chats(connection, ALICE, 4, None)
    assert len(page) == 4
    assert more is None
    assert list_chats(connection, BOB, 4, None) == ([], None)


def test_pages_by_offset_are_the_same_list(connection: Connection) -> None:
    """Without it old clients would see another order than new ones."""
    expected = many_chats(connection, 7)
    found = [view.id for start in (0, 3, 6) for view in list_chats_from(connection, ALICE, 3, start)]
    assert found == expected
    assert count_chats(connection, ALICE) == 7
    assert list_chats_from(connection, ALICE, 3, 2**63 - 1) == []


@pytest.mark.parametrize("cursor", ["x", "AAAA", "????", "ü", "/" * 32, "_" * 32])
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    """Without it a damaged cursor would be an error on our side, or a wrong page."""
    assert refusal(INVALID, position_of, cursor).field == "cursor"


def test_a_cursor_comes_back_as_it_went() -> None:
    """Without it the next page would begin somewhere else."""
    position = ListPosition(1_700_000_000_000_000, new_id())
    assert position_of(cursor_of(position)) == position


def test_a_page_walks_along_the_index(connection: Connection) -> None:
    """Without it the list of chats would get slower with every chat that a user has."""
    if connection.dialect.name == "mysql":
        pytest.skip("SQLite's plan")
    many_chats(connection, 3)
    statements: list[str] = []
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.set_trace_callback(statements.append)
    list_chats(connection, ALICE, 2, None)
    list_chats(connection, ALICE, 2, ListPosition(101, b"\xff" * 16))
    raw.set_trace_callback(None)
    pages = [statement for statement in statements if "members AS me" in statement]
    assert len(pages) == 2
    for statement in pages:
        plan = " ".join(row[3] for row in raw.execute("EXPLAIN QUERY PLAN " + statement))
        assert "members_by_activity (user_id=?" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_a_lagging_copy_of_activity_moves_only_the_place_in_the_list(connection: Connection) -> None:
    """Without it the time shown for a large group would be wrong, whose members' copies are written late."""
    chat_id = group(connection, BOB)
    write_messages(connection, chat_id, ALICE, ["new"], 50)
    connection.execute(update(members).values(active_at=10))
    [view], _ = list_chats(connection, BOB, 10, None)
    assert view.active_at == 50
