"""Giving messages their places, without a database."""

import itertools
from collections.abc import Sequence

import pytest

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Message
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.sequencing import (
    ACTIVITY_PAUSE_US,
    EXACT_ACTIVITY_MEMBERS,
    Append,
    ChatRow,
    Plan,
    message_of_row,
    messages_of,
    plan_append,
    suspect_keys,
)

CHAT = new_id()
ALICE, BOB = new_id(), new_id()
VERSION = 3
NOW = 1_000_000_000


def audience(members: Sequence[bytes] = (ALICE, BOB), chat_id: bytes = CHAT) -> Audience:
    """A chat's members, as they were when the sender was found among them."""
    return Audience(chat_id, True, VERSION, 0, frozenset(members))


def append(*texts: str, sender: bytes = ALICE, client_ids: Sequence[bytes] = (), **more: object) -> Append:
    """A request to send."""
    ids = list(client_ids) or [new_id() for _ in texts]
    asked = Append(more.pop("to", audience()), sender, ids, list(texts), **more)  # type: ignore[arg-type]
    asked.version = VERSION
    return asked


def plan(
    *batch: Append, last_seq: int = 0, active_at: int = 0, known: Sequence[Message] = (), now: int = NOW
) -> Plan:
    """Plans a batch of one chat."""
    ids = (number.to_bytes(16, "big") for number in itertools.count(1))
    rows = {CHAT: ChatRow(last_seq, active_at, VERSION)}
    keyed = {(message.chat_id, message.sender_id, message.client_id): message for message in known}
    return plan_append(batch, rows, keyed, now, lambda: next(ids))


def test_messages_get_the_next_seqs_in_order() -> None:
    """A chat would have holes, or two messages at one place."""
    one, two = append("a", "b"), append("c", sender=BOB)
    written = plan(one, two, last_seq=7)
    assert [(row.seq, row.text) for row in written.messages] == [(8, "a"), (9, "b"), (10, "c")]
    assert (one.first_seq, two.first_seq) == (8, 10)
    assert len({row.id for row in written.messages}) == 3
    assert written.chats == {CHAT: (10, NOW)}
    assert [message.seq for message in messages_of(one)] == [8, 9]


def test_who_writes_has_read() -> None:
    """Senders would find their own messages unread."""
    assert plan(append("a"), append("b", sender=BOB), append("c")).receipts == {
        (CHAT, ALICE): 3,
        (CHAT, BOB): 2,
    }


def test_a_client_id_that_is_known_gives_its_message_and_writes_nothing() -> None:
    """A repeated send would appear twice."""
    client_id = new_id()
    stored = Message(CHAT, 4, new_id(), ALICE, client_id, "as it was", NOW - 5, edited_at=NOW - 1)
    repeated = append("other words", client_ids=[client_id], retry=True)
    written = plan(repeated, last_seq=9, known=[stored])
    assert written == Plan()
    assert messages_of(repeated) == [stored]
    assert repeated.ids == []


def test_a_client_id_twice_in_one_batch_is_one_message() -> None:
    """Two devices that repeat at the same moment would store two messages."""
    client_id = new_id()
    one, two = append("a", client_ids=[client_id]), append("a", client_ids=[client_id])
    assert len(plan(one, two).messages) == 1
    assert messages_of(one) == messages_of(two)
    assert one.ids
    assert not two.ids


def test_a_client_id_twice_in_one_request_is_one_message() -> None:
    """A careless client would break the chat's seqs."""
    client_id = new_id()
    asked = append("a", "a", "b", client_ids=[client_id, client_id, new_id()])
    assert [row.seq for row in plan(asked).messages] == [1, 2]
    assert [message.seq for message in messages_of(asked)] == [1, 1, 2]


def test_the_same_client_id_of_somebody_else_is_another_message() -> None:
    """A guessed client id would keep others from writing, and show their messages."""
    client_id = new_id()
    written = plan(append("a", client_ids=[client_id]), append("b", sender=BOB, client_ids=[client_id]))
    assert [row.text for row in written.messages] == ["a", "b"]


def test_a_request_of_which_a_part_is_stored_writes_the_rest() -> None:
    """A request that is repeated with more in it would lose the new part, or double the old."""
    old = new_id()
    stored = Message(CHAT, 2, new_id(), ALICE, old, "a", NOW - 5)
    asked = append("a", "b", client_ids=[old, new_id()], retry=True)
    assert [(row.seq, row.text) for row in plan(asked, last_seq=5, known=[stored]).messages] == [(6, "b")]
    assert [message.seq for message in messages_of(asked)] == [2, 6]


def test_members_that_changed_are_checked_again() -> None:
    """Somebody who was removed a moment ago could still write."""
    asked = append("a")
    asked.version = VERSION - 1
    assert plan(asked) == Plan()
    assert asked.stale
    assert asked.error is None


def test_an_audience_read_anew_does_not_excuse_an_old_check() -> None:
    """A removed member's waiting messages would be written, because others wrote meanwhile."""
    asked = append("a")
    asked.version = VERSION - 1
    # What a new reading of the members does to the object that the request holds
    asked.audience.version = VERSION
    assert plan(asked) == Plan()
    assert asked.stale


def test_a_chat_that_is_gone_refuses_without_a_word_of_it() -> None:
    """Strangers could find out which chats exist."""
    asked = append("a", to=audience(chat_id=new_id()))
    assert plan(asked) == Plan()
    assert isinstance(asked.error, PalaverError)
    assert asked.error.kind is NOT_FOUND


def test_an_outcome_is_forgotten_when_it_is_planned_again() -> None:
    """After a collision a request would be answered with what did not happen."""
    asked = append("a")
    plan(asked, last_seq=1)
    stored = Message(CHAT, 9, new_id(), ALICE, asked.client_ids[0], "a", NOW)
    plan(asked, last_seq=9, known=[stored])
    assert (asked.ids, messages_of(asked)) == ([], [stored])


@pytest.mark.parametrize("behind", [1, 5_000_000])
def test_times_do_not_go_back_where_clocks_do(behind: int) -> None:
    """Messages would be sorted otherwise by time than by seq."""
    one, two = append("a"), append("b")
    plan(one, two, active_at=NOW + behind)
    assert one.created_at == two.created_at == NOW + behind


def test_a_small_chats_activity_is_exact() -> None:
    """A list of chats would not begin with the newest one."""
    assert plan(append("a"), active_at=NOW - 1).activity == {CHAT: NOW}


def test_a_large_groups_activity_lags_while_it_is_busy() -> None:
    """Each message of a large group would write a row for each member."""
    many = audience([new_id() for _ in range(EXACT_ACTIVITY_MEMBERS + 1)])
    assert plan(append("a", to=many), active_at=NOW - ACTIVITY_PAUSE_US).activity == {}
    assert plan(append("a", to=many), active_at=NOW - ACTIVITY_PAUSE_US - 1).activity == {CHAT: NOW}


def test_only_retries_are_looked_up_until_something_collides() -> None:
    """Every message would cost a look-up, or a repeated one would end its whole batch."""
    one, two = append("a"), append("b", "c", retry=True)
    assert suspect_keys([one, two], all_of_them=False) == [(CHAT, ALICE, cid) for cid in two.client_ids]
    assert len(suspect_keys([one, two], all_of_them=True)) == 3


def test_a_row_and_what_is_told_of_it_say_the_same() -> None:
    """Who is online would see another message than who reads the history."""
    asked = append("a", trace_id="t" * 32)
    assert [message_of_row(row) for row in plan(asked).messages] == messages_of(asked)
