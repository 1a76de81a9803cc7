"""The client's end of the v2 socket, frame by frame."""

import pytest

from palaver.client.protocol import MOST_CURSORS, ClientProtocol, Event
from palaver.contracts.errors import TOO_LARGE, PalaverError
from palaver.contracts.frames import (
    ClientFrame,
    Error,
    Receipt,
    Resume,
    Resumed,
    Send,
    SendReceipt,
    SendTyping,
    ServerFrame,
)
from tests.harness.client_events import HELLO, ME, message, sent


def gateway_stream(**cursors: int) -> ClientProtocol:
    """A protocol that has resumed."""
    protocol = ClientProtocol(cursors)
    hear(protocol, HELLO)
    written(protocol)
    hear(protocol, Resumed())
    return protocol


def hear(protocol: ClientProtocol, *frames: ServerFrame) -> list[Event]:
    """What the user is told when these frames come."""
    for frame in frames:
        protocol.receive_frame(frame)
    return protocol.take_events()


def written(protocol: ClientProtocol) -> list[ClientFrame]:
    """What is written now."""
    return list(protocol.frames_to_send())


def test_nothing_is_written_before_hello() -> None:
    """Frames would reach a server that has not attached the socket yet, and be answered with errors."""
    protocol = ClientProtocol({"A": 4})
    protocol.send("A", "one", "text")
    protocol.set_receipt("A", 4, 4)
    assert written(protocol) == []
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"A": 4}), SendReceipt("A", 4, 4), Send("A", "one", "text")]
    assert written(protocol) == []


def test_a_hole_asks_for_the_chat_and_holds_back_what_follows() -> None:
    """A message that was lost on the way would stay lost, or come behind its answers."""
    protocol = gateway_stream(A=4)
    assert hear(protocol, message(7)) == []
    assert written(protocol) == [Resume({"A": 4})]
    assert hear(protocol, message(8)) == []
    assert written(protocol) == []
    told = hear(protocol, message(5), message(6), message(7), Resumed())
    assert told == [message(5), message(6), message(7), message(8)]
    assert written(protocol) == []


def test_one_resume_at_a_time() -> None:
    """The server would refuse the second, and its chats would never be filled."""
    protocol = gateway_stream(A=4, B=4)
    hear(protocol, message(7))
    assert written(protocol) == [Resume({"A": 4})]
    hear(protocol, message(7, "B"))
    assert written(protocol) == []
    hear(protocol, message(5), message(6), Resumed())
    assert written(protocol) == [Resume({"B": 4})]


def test_very_many_chats_are_resumed_part_by_part() -> None:
    """A user with more chats than a frame may name could never resume."""
    protocol = ClientProtocol({str(number): number for number in range(MOST_CURSORS + 1)})
    hear(protocol, HELLO)
    [first] = written(protocol)
    hear(protocol, Resumed())
    [second] = written(protocol)
    assert isinstance(first, Resume)
    assert isinstance(second, Resume)
    assert len(first.cursors) == MOST_CURSORS
    assert len(first.cursors | second.cursors) == MOST_CURSORS + 1
    assert not protocol.is_caught_up
    hear(protocol, Resumed())
    assert protocol.is_caught_up


def test_own_sends_are_outcomes_and_fill_their_seqs() -> None:
    """Every answer to an own message would look like a hole; or a bot would answer itself."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    written(protocol)
    assert hear(protocol, sent(5, "one"), message(6)) == [message(6)]
    assert protocol.take_outcomes() == [("one", sent(5, "one"))]
    assert written(protocol) == []


def test_a_send_is_repeated_after_a_cut_until_it_is_acked() -> None:
    """A send that was on its way when the connection was cut would be lost, or reported twice."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    assert written(protocol) == [Send("A", "one", "text")]
    protocol.connection_lost()
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"A": 4}), Send("A", "one", "text")]
    # It had been stored: it comes with what was missed, and is acknowledged once more
    assert hear(protocol, message(5, sender=ME, client_id="one"), Resumed(), sent(5, "one")) == []
    assert [client_id for client_id, _ in protocol.take_outcomes()] == ["one"]
    assert protocol.cursors == {"A": 5}


def test_a_name_that_somebody_else_gave_is_not_an_acknowledgement() -> None:
    """Another member could make a send look stored by using its client id."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    stranger = message(5, sender="other", client_id="one")
    assert hear(protocol, stranger) == [stranger]
    assert protocol.take_outcomes() == []


def test_a_send_that_was_given_up_but_stored_is_told_as_a_message() -> None:
    """After a time-out the sender would never see what everybody else sees."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    written(protocol)
    protocol.give_up("one")
    hear(protocol, sent(5, "one"))
    assert protocol.take_outcomes() == []
    assert written(protocol) == [Resume({"A": 4})]
    own = message(5, sender=ME, client_id="one")
    assert hear(protocol, own, Resumed()) == [own]


def test_a_refused_send_fails_with_the_servers_words() -> None:
    """The sender would wait for a time-out instead of learning what is wrong."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    assert hear(protocol, Error("invalid", "too long", "text", client_id="one")) == []
    [(client_id, error)] = protocol.take_outcomes()
    assert client_id == "one"
    assert isinstance(error, PalaverError)
    assert (error.kind.code, error.message, error.field) == ("invalid", "too long", "text")
    assert protocol.unacked == 0


def test_a_send_that_is_refused_for_now_can_be_sent_again() -> None:
    """Each moment in which the server is busy would cost a message."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    written(protocol)
    hear(protocol, Error("rate_limited", "slow down", client_id="one", retry_after=2.0))
    [(client_id, error)] = protocol.take_postponed()
    assert (client_id, error.kind.code, error.retry_after) == ("one", "rate_limited", 2.0)
    assert protocol.take_outcomes() == []
    assert written(protocol) == []
    protocol.send_again("one")
    assert written(protocol) == [Send("A", "one", "text")]


def test_the_same_client_id_can_not_be_on_its_way_twice() -> None:
    """One of two callers would never get an outcome."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "one", "text")
    with pytest.raises(PalaverError) as refused:
        protocol.send("A", "one", "text")
    assert refused.value.field == "client_id"


def test_changes_are_told_once_and_newest_last() -> None:
    """An edit would not be shown, be shown twice, or be undone by an older one."""
    protocol = gateway_stream(A=4)
    edited, deleted = message(3, edit=1), message(3, edit=2, deleted=True)
    assert hear(protocol, edited, edited, deleted, edited, deleted) == [edited, deleted]


def test_a_chat_begins_with_its_first_message() -> None:
    """The first message of a new companion would wait for a look-up, or not come."""
    protocol = gateway_stream(A=4)
    assert hear(protocol, message(1, "new"), message(2, "new")) == [message(1, "new"), message(2, "new")]
    assert protocol.take_unknown_chats() == []


def test_an_unknown_chat_waits_until_it_is_known_where_it_begins() -> None:
    """What was said in a new chat while this client was away would never be told."""
    protocol = gateway_stream(A=4)
    assert hear(protocol, message(7, "new"), message(8, "new")) == []
    assert protocol.take_unknown_chats() == ["new"]
    protocol.start_chat("new", 5)
    assert written(protocol) == [Resume({"new": 5})]
    told = hear(protocol, message(6, "new"), message(7, "new"), message(8, "new"), Resumed())
    assert told == [message(6, "new"), message(7, "new"), message(8, "new")]


def test_a_chat_that_was_found_is_asked_for() -> None:
    """What was said in a chat that began while this client was away would wait for its next message."""
    protocol = gateway_stream(A=4)
    protocol.start_chat("new", 0)
    assert written(protocol) == [Resume({"new": 0})]


def test_the_message_that_made_a_chat_known_is_always_told() -> None:
    """A look-up that sees newer seqs than the message would swallow it."""
    protocol = gateway_stream(A=4)
    hear(protocol, message(7, "new"))
    protocol.start_chat("new", 9)
    assert protocol.take_events() == [message(7, "new")]


def test_without_look_ups_a_chat_begins_with_what_comes() -> None:
    """A client that looks for no chats would hear nothing of those that it does not know."""
    protocol = ClientProtocol({}, find_chats=False)
    hear(protocol, HELLO)
    assert hear(protocol, message(7), message(8)) == [message(7), message(8)]
    assert protocol.cursors == {"A": 8}
    assert hear(protocol, message(3, "B", edit=1)) == [message(3, "B", edit=1)]
    assert protocol.cursors == {"A": 8}


def test_a_seq_that_the_store_does_not_have_does_not_stop_a_chat() -> None:
    """One hole that cannot be filled would silence a chat for ever, or ask for it in a loop."""
    protocol = gateway_stream(A=4)
    hear(protocol, message(7))
    written(protocol)
    assert hear(protocol, Resumed()) == [message(7)]
    assert written(protocol) == []


def test_a_hole_that_appears_during_a_resume_is_asked_for_again() -> None:
    """A message that was lost behind the resumed part would be given up without a question."""
    protocol = ClientProtocol({"A": 4})
    hear(protocol, HELLO)
    written(protocol)
    assert hear(protocol, message(5), message(8), Resumed()) == [message(5)]
    assert written(protocol) == [Resume({"A": 5})]


def test_a_failed_resume_is_not_believed() -> None:
    """What the store could not read at that moment would be lost."""
    protocol = ClientProtocol({"A": 4})
    hear(protocol, HELLO)
    written(protocol)
    hear(protocol, Error("unavailable", "away"))
    with pytest.raises(PalaverError):
        protocol.receive_frame(Resumed())
    protocol.connection_lost()
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"A": 4})]


def test_a_chat_of_others_is_not_asked_for_again() -> None:
    """Every later connection would begin with the same refusal."""
    protocol = ClientProtocol({"A": 4, "B": 4})
    hear(protocol, HELLO)
    written(protocol)
    refused = Error("not_found", "no such chat", chat_id="A")
    assert hear(protocol, refused, Resumed()) == [refused]
    protocol.connection_lost()
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"B": 4})]


def test_receipts_are_said_again_until_they_are_told() -> None:
    """A receipt on its way when the connection was cut would be lost, and a chat stay unread."""
    protocol = gateway_stream(A=4)
    protocol.set_receipt("A", 4, 2)
    protocol.set_receipt("A", 3, 3)
    assert written(protocol) == [SendReceipt("A", 4, 3)]
    protocol.connection_lost()
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"A": 4}), SendReceipt("A", 4, 3)]
    hear(protocol, Receipt("A", "other", 4, 4), Receipt("A", ME, 4, 3))
    protocol.connection_lost()
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"A": 4})]


def test_typing_is_not_told_late() -> None:
    """Others would see somebody typing who did so a minute ago."""
    protocol = gateway_stream(A=4)
    protocol.send_typing("A")
    assert written(protocol) == [SendTyping("A")]
    protocol.connection_lost()
    protocol.send_typing("A")
    hear(protocol, HELLO)
    assert written(protocol) == [Resume({"A": 4})]


def test_a_frame_too_large_takes_the_longest_send_alone() -> None:
    """One text that the server never takes would cut the connection for ever, or take other sends with it."""
    protocol = gateway_stream(A=4)
    protocol.send("A", "short", "text")
    protocol.send("A", "long", "text" * 100)
    protocol.give_up_longest(PalaverError(TOO_LARGE))
    assert [client_id for client_id, _ in protocol.take_outcomes()] == ["long"]
    assert protocol.unacked == 1


def test_an_own_message_of_another_device_is_news() -> None:
    """A user with two devices would not see on one what they said on the other."""
    protocol = gateway_stream(A=4)
    other_device = message(5, sender=ME)
    assert hear(protocol, other_device) == [other_device]
