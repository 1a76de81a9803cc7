"""Messages of a chat in a real database."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from palaver.contracts.errors import CONFLICT, FORBIDDEN, NOT_FOUND, ErrorKind, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Message, Receipt
from palaver.messenger.store import messages as history
from palaver.messenger.store.chats import create_group, open_direct_chat, remove_member
from palaver.messenger.store.messages import Page, delete_message, edit_message, read_at, read_page
from tests.harness.journal_rows import move_receipt, rows_read, write_messages

ALICE, BOB, CAROL, DAVE = (new_id() for _ in range(4))


@pytest.fixture
def chat_id(connection: Connection) -> bytes:
    """A direct chat of Alice and Bob with ten messages of Alice's: "1" to "10"."""
    chat, _ = open_direct_chat(connection, ALICE, BOB, 10)
    write_messages(connection, chat.id, ALICE, [str(number) for number in range(1, 11)], 50)
    return chat.id


def refusal(kind: ErrorKind, work: Callable[..., object], *args: object) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        work(*args)
    assert caught.value.kind is kind
    return caught.value


def seqs(page: Page) -> list[int]:
    return [Message(*row).seq for row in page.rows]


@pytest.mark.parametrize(
    ("limit", "before", "after", "expected"),
    [
        (3, 0, None, [8, 9, 10]),
        (100, 0, None, list(range(1, 11))),
        (3, 8, None, [5, 6, 7]),
        (3, 3, None, [1, 2]),
        (3, 1, None, []),
        (3, 2**64 - 1, None, [8, 9, 10]),
        (3, 0, 0, [1, 2, 3]),
        (3, 0, 4, [5, 6, 7]),
        (3, 0, 9, [10]),
        (3, 0, 10, []),
        (3, 0, 2**64 - 1, []),
    ],
)
def test_pages_both_ways(
    connection: Connection, chat_id: bytes, limit: int, before: int, after: int | None, expected: list[int]
) -> None:
    """Without it scrolling through a history would pass over messages, or show some twice."""
    page = read_page(connection, chat_id, BOB, limit, before, after)
    assert seqs(page) == expected
    assert page.last_seq == 10


def test_rows_are_messages(connection: Connection, chat_id: bytes) -> None:
    """Without it a field would be shown as another one, since rows are taken apart by place."""
    [row] = read_page(connection, chat_id, BOB, 1, 0, None).rows
    message = Message(*row)
    assert (message.chat_id, message.seq, message.sender_id) == (chat_id, 10, ALICE)
    assert (message.text, message.created_at) == ("10", 50)
    assert (message.edited_at, message.deleted_at, message.trace_id) == (0, 0, "")
    assert len(message.id) == len(message.client_id) == 16


def test_outsiders_are_told_that_there_is_no_chat(connection: Connection, chat_id: bytes) -> None:
    """Without it anybody who learns a chat's id could read it."""
    hidden = refusal(NOT_FOUND, read_page, connection, chat_id, CAROL, 10, 0, None)
    missing = refusal(NOT_FOUND, read_page, connection, new_id(), CAROL, 10, 0, None)
    assert (hidden.message, hidden.field) == (missing.message, missing.field)


def test_who_left_reads_up_to_their_leaving(connection: Connection) -> None:
    """Without it a removed member would lose what they had, or read on."""
    group, _ = create_group(connection, new_id(), ALICE, "Lunch", [BOB], 10)
    write_messages(connection, group.id, ALICE, ["1", "2"])
    remove_member(connection, group.id, ALICE, BOB)
    write_messages(connection, group.id, ALICE, ["3", "4"])
    page = read_page(connection, group.id, BOB, 10, 0, None)
    assert (seqs(page), page.last_seq, page.left) == ([1, 2], 2, True)
    assert page.receipts == [Receipt(BOB, 0, 0)]
    assert seqs(read_page(connection, group.id, BOB, 10, 4, None)) == [1, 2]
    assert seqs(read_page(connection, group.id, BOB, 10, 0, 1)) == [2]
    assert seqs(read_page(connection, group.id, BOB, 10, 0, 2)) == []


def test_a_page_of_very_long_texts_ends_early(
    connection: Connection, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a page of long texts would pass what a gRPC message may carry, and never be read."""
    monkeypatch.setattr(history, "PAGE_BYTES", 250)
    monkeypatch.setattr(history, "FETCHED_ROWS", 2)
    write_messages(connection, chat_id, ALICE, ["x" * 100 for _ in range(5)])
    assert seqs(read_page(connection, chat_id, BOB, 100, 0, None)) == [14, 15]
    assert seqs(read_page(connection, chat_id, BOB, 100, 0, 10)) == [11, 12]
    monkeypatch.setattr(history, "PAGE_BYTES", 50)
    assert seqs(read_page(connection, chat_id, BOB, 100, 0, 10)) == [11]


# ---- receipts ----


def test_a_direct_chat_gives_both_receipts(connection: Connection, chat_id: bytes) -> None:
    """Without it old clients would show no message as received or read."""
    move_receipt(connection, chat_id, BOB, 7, 5)
    receipts = read_page(connection, chat_id, ALICE, 1, 0, None).receipts
    assert {*receipts} == {Receipt(ALICE, 10, 10), Receipt(BOB, 7, 5)}


def test_a_groups_receipts_tell_the_least_of_all_but_one(connection: Connection) -> None:
    """Without it old clients would show a group's message as read that somebody has not read."""
    others = [new_id() for _ in range(20)]
    group, _ = create_group(connection, new_id(), ALICE, "Lunch", others, 10)
    write_messages(connection, group.id, ALICE, ["x"] * 50)
    stored = {ALICE: Receipt(ALICE, 50, 50)}
    for number, user in enumerate(others):
        receipt = stored[user] = Receipt(user, 20 + (number * 7) % 20, (number * 13) % 20)
        move_receipt(connection, group.id, user, receipt.received_seq, receipt.read_seq)
    gone = others.pop()
    move_receipt(connection, group.id, gone, 0, 0)
    remove_member(connection, group.id, ALICE, gone)
    del stored[gone]
    found = read_page(connection, group.id, ALICE, 1, 0, None).receipts
    assert len(found) <= 4
    for sender in stored:
        all_others = [receipt for user, receipt in stored.items() if user != sender]
        given = [receipt for receipt in found if receipt.user_id != sender]
        assert min(r.received_seq for r in given) == min(r.received_seq for r in all_others)
        assert min(r.read_seq for r in given) == min(r.read_seq for r in all_others)


# ---- one's own messages ----


def test_an_edited_message_keeps_its_place(connection: Connection, chat_id: bytes) -> None:
    """Without it a corrected word would move a message, or change another one."""
    before = [Message(*row) for row in read_page(connection, chat_id, BOB, 10, 0, None).rows]
    edited = edit_message(connection, chat_id, ALICE, 4, "four", 90)
    after = [Message(*row) for row in read_page(connection, chat_id, BOB, 10, 0, None).rows]
    assert after[3] == edited
    assert (edited.text, edited.edited_at, edited.deleted_at) == ("four", 90, 0)
    assert (edited.seq, edited.id, edited.client_id) == (4, before[3].id, before[3].client_id)
    assert edited.created_at == before[3].created_at
    assert [*after[:3], *after[4:]] == [*before[:3], *before[4:]]


def test_a_deleted_message_keeps_its_seq_and_no_text(connection: Connection, chat_id: bytes) -> None:
    """Without it a deleted text could still be read, or seqs would get holes."""
    edit_message(connection, chat_id, ALICE, 10, "secret", 80)
    deleted, changed = delete_message(connection, chat_id, ALICE, 10, 90)
    assert changed
    assert (deleted.seq, deleted.text, deleted.deleted_at, deleted.edited_at) == (10, "", 90, 80)
    page = read_page(connection, chat_id, BOB, 10, 0, None)
    assert seqs(page) == list(range(1, 11))
    assert Message(*page.rows[-1]) == deleted
    assert read_at(connection, [(chat_id, 10)]) == {(chat_id, 10): deleted}


def test_deleting_again_gives_the_same(connection: Connection, chat_id: bytes) -> None:
    """Without it a repeated request would fail, or change when the message was deleted."""
    first, _ = delete_message(connection, chat_id, ALICE, 5, 90)
    assert delete_message(connection, chat_id, ALICE, 5, 99) == (first, False)


def test_a_deleted_message_is_not_edited(connection: Connection, chat_id: bytes) -> None:
    """Without it a deleted message could come back with other words."""
    delete_message(connection, chat_id, ALICE, 5, 90)
    assert refusal(CONFLICT, edit_message, connection, chat_id, ALICE, 5, "back", 99).field == "seq"


def test_only_ones_own_messages_are_changed(connection: Connection, chat_id: bytes) -> None:
    """Without it the companion could put words into one's mouth, or delete one's words."""
    refusal(FORBIDDEN, edit_message, connection, chat_id, BOB, 5, "not mine", 90)
    refusal(FORBIDDEN, delete_message, connection, chat_id, BOB, 5, 90)
    assert Message(*read_page(connection, chat_id, BOB, 1, 6, None).rows[0]).text == "5"


@pytest.mark.parametrize("seq", [0, 11, 2**64 - 1])
def test_a_seq_that_is_not_there_is_not_found(connection: Connection, chat_id: bytes, seq: int) -> None:
    """Without it a wrong seq would be an error on our side."""
    assert refusal(NOT_FOUND, edit_message, connection, chat_id, ALICE, seq, "x", 90).field == "seq"
    assert refusal(NOT_FOUND, delete_message, connection, chat_id, ALICE, seq, 90).field == "seq"


def test_who_left_changes_nothing(connection: Connection) -> None:
    """Without it a removed member could still write into the chat, by editing."""
    group, _ = create_group(connection, new_id(), ALICE, "Lunch", [BOB], 10)
    write_messages(connection, group.id, BOB, ["mine"])
    remove_member(connection, group.id, ALICE, BOB)
    assert refusal(NOT_FOUND, edit_message, connection, group.id, BOB, 1, "x", 90).field == "chat_id"
    assert refusal(NOT_FOUND, delete_message, connection, group.id, BOB, 1, 90).field == "chat_id"


# ---- speed ----


def test_the_last_page_costs_the_same_in_a_long_chat(connection: Connection) -> None:
    """Without it reading would get slower as a chat grows."""
    short, _ = open_direct_chat(connection, ALICE, CAROL, 10)
    long, _ = open_direct_chat(connection, ALICE, DAVE, 10)
    write_messages(connection, short.id, ALICE, ["hello"] * 100)
    for _ in range(50):
        write_messages(connection, long.id, ALICE, ["hello"] * 1_000)
    assert work_of(connection, long.id) <= work_of(connection, short.id) * 1.2


def work_of(connection: Connection, chat_id: bytes) -> int:
    """Steps of SQLite's machine (in tens), or rows that MySQL reads, for the last 50 messages: unlike time,
    the same in each run."""
    if connection.dialect.name == "mysql":
        before = rows_read(connection)
        read_page(connection, chat_id, ALICE, 50, 0, None)
        return rows_read(connection) - before
    raw = connection.connection.driver_connection
    assert raw is not None
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    raw.set_progress_handler(step, 10)
    read_page(connection, chat_id, ALICE, 50, 0, None)
    raw.set_progress_handler(None, 0)
    return steps
