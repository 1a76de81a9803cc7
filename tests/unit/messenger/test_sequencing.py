"""Giving messages their places, without a database."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import pytest

from palaver.contracts.errors import NOT_FOUND, RATE_LIMITED, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.events import MessagesAppended
from palaver.messenger.pending_send import PendingSend, StoredKey, new_texts, stored_keys
from palaver.messenger.sequencing import (
    ACTIVITY_PAUSE_US,
    EXACT_ACTIVITY_MEMBERS,
    ChatRow,
    Plan,
    appended_of,
    plan_batch,
    suspect_keys,
)
from palaver.runtime.telemetry.trace_context import TraceContext
from tests.harness.noted_replies import NotedReply

CHAT = new_id()
ALICE, BOB = new_id(), new_id()
VERSION = 3
NOW = 1_000_000_000


def membership(
    members: Sequence[bytes] = (ALICE, BOB), chat_id: bytes = CHAT, version: int = VERSION
) -> Membership:
    """A chat's members, as they were when the sender was found among them."""
    return Membership(chat_id, True, version, frozenset(members))


def request(
    *texts: str, sender: bytes = ALICE, client_ids: Sequence[bytes] = (), **more: object
) -> PendingSend:
    """A request to send."""
    ids = list(client_ids) or [new_id() for _ in texts]
    to = more.pop("to", membership())
    return PendingSend(to, sender, ids, list(texts), NotedReply(), **more)  # type: ignore[arg-type]


def plan(
    *batch: PendingSend,
    last_seq: int = 0,
    active_at: int = 0,
    known: Mapping[bytes, StoredKey] | None = None,
    now: int = NOW,
) -> Plan:
    """Plans a batch of one chat. `known`: Alice's client ids that are stored."""
    ids = (number.to_bytes(16, "big") for number in itertools.count(1))
    rows = {CHAT: ChatRow(last_seq, active_at, VERSION)}
    keyed = {(CHAT, ALICE, client_id): stored for client_id, stored in (known or {}).items()}
    return plan_batch(batch, rows, keyed, now, lambda: next(ids))


def seqs(send: PendingSend) -> list[int]:
    """Where each of its messages is."""
    return [stored.seq for stored in stored_keys(send)]


def test_messages_get_the_next_seqs_in_order() -> None:
    """A chat would have holes, or two messages at one place."""
    one, two = request("a", "b"), request("c", sender=BOB)
    written = plan(one, two, last_seq=7)
    assert [(row.seq, row.text) for row in written.messages] == [(8, "a"), (9, "b"), (10, "c")]
    assert (one.first_seq, two.first_seq) == (8, 10)
    assert len({row.id for row in written.messages}) == 3
    assert written.chats == {CHAT: (10, NOW)}
    assert seqs(one) == [8, 9]


def test_who_writes_has_read() -> None:
    """Senders would find their own messages unread."""
    assert plan(request("a"), request("b", sender=BOB), request("c")).receipts == {
        (CHAT, ALICE): 3,
        (CHAT, BOB): 2,
    }


def test_a_client_id_that_is_known_gives_its_message_and_writes_nothing() -> None:
    """A repeated send would appear twice."""
    client_id = new_id()
    stored = StoredKey(4, new_id(), NOW - 5)
    repeated = request("other words", client_ids=[client_id], retry=True)
    written = plan(repeated, last_seq=9, known={client_id: stored})
    assert written == Plan()
    assert stored_keys(repeated) == [stored]
    assert repeated.ids == []


def test_a_client_id_twice_in_one_batch_is_one_message() -> None:
    """Two devices that repeat at the same moment would store two messages."""
    client_id = new_id()
    one, two = request("a", client_ids=[client_id]), request("a", client_ids=[client_id])
    assert len(plan(one, two).messages) == 1
    assert stored_keys(one) == stored_keys(two)
    assert one.ids
    assert not two.ids


def test_a_client_id_twice_in_one_request_is_one_message() -> None:
    """A careless client would break the chat's seqs."""
    client_id = new_id()
    asked = request("a", "a", "b", client_ids=[client_id, client_id, new_id()])
    assert [row.seq for row in plan(asked).messages] == [1, 2]
    assert seqs(asked) == [1, 1, 2]


def test_the_same_client_id_of_somebody_else_is_another_message() -> None:
    """A guessed client id would keep others from writing, and show their messages."""
    client_id = new_id()
    written = plan(request("a", client_ids=[client_id]), request("b", sender=BOB, client_ids=[client_id]))
    assert [row.text for row in written.messages] == ["a", "b"]


def test_a_request_of_which_a_part_is_stored_writes_the_rest() -> None:
    """A request that is repeated with more in it would lose the new part, or double the old."""
    old = new_id()
    asked = request("a", "b", client_ids=[old, new_id()], retry=True)
    written = plan(asked, last_seq=5, known={old: StoredKey(2, new_id(), NOW - 5)})
    assert [(row.seq, row.text) for row in written.messages] == [(6, "b")]
    assert seqs(asked) == [2, 6]


def test_members_that_changed_are_checked_again() -> None:
    """Somebody who was removed a moment ago could still write."""
    asked = request("a", to=membership(version=VERSION - 1))
    assert plan(asked) == Plan()
    assert asked.stale
    assert asked.error is None


def test_a_membership_read_anew_does_not_excuse_an_old_check() -> None:
    """A removed member's waiting messages would be written, because others wrote meanwhile."""
    asked, later = request("a", to=membership(version=VERSION - 1)), request("b", sender=BOB)
    # What a new reading of the members would have to do to what the request holds
    with pytest.raises(dataclasses.FrozenInstanceError):
        asked.membership.version = VERSION  # type: ignore[misc] # it is frozen
    assert [row.text for row in plan(asked, later).messages] == ["b"]
    assert (asked.stale, later.stale) == (True, False)


def test_a_chat_that_is_gone_refuses_without_a_word_of_it() -> None:
    """Strangers could find out which chats exist."""
    asked = request("a", to=membership(chat_id=new_id()))
    assert plan(asked) == Plan()
    assert isinstance(asked.error, PalaverError)
    assert asked.error.kind is NOT_FOUND


def test_an_outcome_is_forgotten_when_it_is_planned_again() -> None:
    """After a collision a request would be answered with what did not happen."""
    asked = request("a")
    plan(asked, last_seq=1)
    stored = StoredKey(9, new_id(), NOW)
    plan(asked, last_seq=9, known={asked.client_ids[0]: stored})
    assert (asked.ids, stored_keys(asked)) == ([], [stored])


@pytest.mark.parametrize("behind", [1, 5_000_000])
def test_times_do_not_go_back_where_clocks_do(behind: int) -> None:
    """Messages would be sorted otherwise by time than by seq."""
    one, two = request("a"), request("b")
    plan(one, two, active_at=NOW + behind)
    assert one.created_at == two.created_at == NOW + behind


def test_a_small_chats_activity_is_exact() -> None:
    """A list of chats would not begin with the newest one."""
    assert plan(request("a"), active_at=NOW - 1).activity == {CHAT: NOW}


def test_a_large_groups_activity_lags_while_it_is_busy() -> None:
    """Each message of a large group would write a row for each member."""
    many = membership([new_id() for _ in range(EXACT_ACTIVITY_MEMBERS + 1)])
    assert plan(request("a", to=many), active_at=NOW - ACTIVITY_PAUSE_US).activity == {}
    assert plan(request("a", to=many), active_at=NOW - ACTIVITY_PAUSE_US - 1).activity == {CHAT: NOW}


def test_only_retries_are_looked_up_until_something_collides() -> None:
    """Every message would cost a look-up, or a repeated one would end its whole batch."""
    one, two = request("a"), request("b", "c", retry=True)
    assert suspect_keys([one, two], all_of_them=False) == [(CHAT, ALICE, cid) for cid in two.client_ids]
    assert len(suspect_keys([one, two], all_of_them=True)) == 3


def test_a_row_and_what_is_told_of_it_say_the_same() -> None:
    """Who is online would see another message than who reads the history."""
    twice = new_id()
    asked = request(
        "a", "a", "b", client_ids=[twice, twice, new_id()], trace=TraceContext("t" * 32, "", False)
    )
    written = plan(asked).messages
    assert [(row.client_id, row.text) for row in written] == new_texts(asked)
    assert [(row.id, row.trace_id) for row in written] == [(one, "t" * 32) for one in asked.ids]
    places = {row.seq: StoredKey(row.seq, row.id, row.created_at) for row in written}
    assert stored_keys(asked) == [places[1], places[1], places[2]]


def test_a_chats_new_messages_are_one_entry_of_the_log() -> None:
    """A gateway that was cut off would be sent a part of what it missed, or each message by itself."""
    batch = [request("a", "b"), request("c", sender=BOB), request("d", to=membership(version=VERSION - 1))]
    rows = {CHAT: ChatRow(7, 0, VERSION)}
    assert appended_of(plan(*batch, last_seq=7), rows) == [MessagesAppended(CHAT, 8, 10, VERSION)]


def test_a_repeated_send_is_no_entry_of_the_log() -> None:
    """Members would be sent a message again whenever its sender repeats it."""
    asked = request("a", retry=True)
    written = plan(asked, last_seq=9, known={asked.client_ids[0]: StoredKey(4, new_id(), NOW)})
    assert appended_of(written, {CHAT: ChatRow(9, 0, VERSION)}) == []


def test_what_is_over_the_rate_is_placed_only_where_it_is_known() -> None:
    """A sender whose rate is used up would go on by saying that everything was sent before."""
    known, new, pending = new_id(), new_id(), request("c")
    over = {"retry": True, "refused_for": 2.5}
    repeated = request("a", client_ids=[known], **over)
    beside = request("a", "b", client_ids=[known, new], **over)
    again = request("c", client_ids=pending.client_ids, **over)
    stored = StoredKey(1, new_id(), NOW)
    planned = plan(repeated, beside, pending, again, last_seq=1, known={known: stored})
    assert (repeated.error, repeated.stored) == (None, [stored])
    assert isinstance(beside.error, PalaverError)
    assert (beside.error.kind, beside.error.retry_after) == (RATE_LIMITED, 2.5)
    assert [message.text for message in planned.messages] == ["c"]
    assert again.stored is not None
    assert again.stored[0].seq == pending.first_seq == 2
