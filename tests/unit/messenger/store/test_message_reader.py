"""Reading what somebody missed."""

import pytest
from palaver.messenger.store.missed import read_active_chats, read_after, read_readable_page, read_since
from sqlalchemy import Connection

from palaver.contracts.ids import new_id
from palaver.messenger.store import missed
from palaver.messenger.store.chats import create_group, open_direct_chat, remove_member
from tests.harness.journal_rows import write_messages

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


def group(connection: Connection) -> bytes:
    """A group of Alice, Bob and Carol."""
    chat_id = new_id()
    create_group(connection, chat_id, ALICE, "a group", [BOB, CAROL], 1)
    return chat_id


def test_pages_follow_each_other_without_hole_or_overlap(connection: Connection) -> None:
    """A resume would lose what lies between two pages, or tell it twice."""
    chat_id = group(connection)
    count = missed.PAGE_MESSAGES * 2 + 7
    write_messages(connection, chat_id, ALICE, [f"{number}" for number in range(1, count + 1)])
    seqs: list[int] = []
    while page := read_after(connection, chat_id, seqs[-1] if seqs else 0, count):
        assert len(page) <= missed.PAGE_MESSAGES
        assert [message.text for message in page] == [str(message.seq) for message in page]
        seqs += [message.seq for message in page]
    assert seqs == list(range(1, count + 1))


def test_a_page_ends_where_it_is_asked_to(connection: Connection) -> None:
    """A hole would be filled beyond its end, with messages that are told live too."""
    chat_id = group(connection)
    write_messages(connection, chat_id, ALICE, ["a", "b", "c", "d"])
    assert [message.seq for message in read_after(connection, chat_id, 1, 3)] == [2, 3]


def test_a_page_of_long_texts_is_short_but_not_empty(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long texts would fill the memory that a slow reader makes wait, or stop its resume."""
    monkeypatch.setattr(missed, "PAGE_CHARACTERS", 10)
    chat_id = group(connection)
    write_messages(connection, chat_id, ALICE, ["x" * 6, "x" * 6, "x" * 50, "y"])
    assert [message.seq for message in read_after(connection, chat_id, 0, 4)] == [1, 2]
    assert [message.seq for message in read_after(connection, chat_id, 2, 4)] == [3]


def test_a_member_reads_to_the_end(connection: Connection) -> None:
    """A resume would stop before the end."""
    chat_id = group(connection)
    write_messages(connection, chat_id, ALICE, ["a", "b"])
    found = read_readable_page(connection, chat_id, BOB, 1)
    assert found is not None
    page, until = found
    assert ([message.seq for message in page], until) == ([2], 2)


def test_who_left_reads_up_to_their_leaving(connection: Connection) -> None:
    """Former members would go on reading (promise P5)."""
    chat_id = group(connection)
    write_messages(connection, chat_id, ALICE, ["a"])
    remove_member(connection, chat_id, ALICE, BOB)
    write_messages(connection, chat_id, ALICE, ["b"])
    found = read_readable_page(connection, chat_id, BOB, 0)
    assert found is not None
    page, until = found
    assert ([message.text for message in page], until) == (["a"], 1)


def test_a_stranger_finds_nothing_there_or_not(connection: Connection) -> None:
    """Strangers would learn which chats exist, by resuming them (promise P5)."""
    chat_id = group(connection)
    write_messages(connection, chat_id, ALICE, ["a"])
    assert read_readable_page(connection, chat_id, new_id(), 0) is None
    assert read_readable_page(connection, new_id(), ALICE, 0) is None


def test_only_chats_with_news_are_looked_at_after_a_broken_stream(connection: Connection) -> None:
    """A gateway with many users would wait for its messages until all of their chats are read."""
    quiet = group(connection)
    busy = open_direct_chat(connection, ALICE, CAROL, 1)[0].id
    write_messages(connection, quiet, ALICE, ["a"], now=100)
    write_messages(connection, busy, ALICE, ["b"], now=200)
    assert read_active_chats(connection, [ALICE, BOB], 150) == [busy]
    assert set(read_active_chats(connection, [ALICE], 100)) == {quiet, busy}
    assert read_active_chats(connection, [BOB], 150) == []


def test_what_came_since_a_time_is_found_over_many_pages(connection: Connection) -> None:
    """After a long break members would get the newest messages, and a hole before them."""
    chat_id, silent = group(connection), group(connection)
    write_messages(connection, chat_id, ALICE, ["old"] * 3, now=100)
    count = missed.PAGE_MESSAGES * 2
    write_messages(connection, chat_id, ALICE, ["new"] * count, now=200)
    found = dict(read_since(connection, [chat_id, silent], 200))
    assert [message.seq for message in found[chat_id]] == list(range(4, count + 4))
    assert found[silent] == []
    assert len(dict(read_since(connection, [chat_id], 0))[chat_id]) == count + 3
