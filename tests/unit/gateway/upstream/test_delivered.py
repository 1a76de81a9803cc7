"""How far a gateway has followed the commit log, and what it remembers beyond that."""

from palaver.contracts.messenger_pb2 import Position
from palaver.gateway.upstream.delivered import Delivered

CHAT, OTHER = bytes(16), bytes([1]) * 16


def followed(delivered: Delivered) -> dict[int, int]:
    """What the next stream would begin with, by writer."""
    return {position.writer: position.number for position in delivered.followed()}


def test_what_was_delivered_is_remembered_until_it_is_followed() -> None:
    """Messages would come twice after a break, or the memory of them would grow for ever."""
    delivered = Delivered()
    delivered.note(CHAT, 7)
    delivered.follow([], settled=False)
    assert delivered.last_seqs == {CHAT: 7}
    delivered.follow([], settled=True)
    assert delivered.last_seqs == {}


def test_a_late_delivery_hides_nothing() -> None:
    """A message that comes behind a newer one would bring back all between them after a break."""
    delivered = Delivered()
    delivered.note(CHAT, 7)
    delivered.note(OTHER, 1)
    delivered.note(CHAT, 3)
    assert delivered.last_seqs == {CHAT: 7, OTHER: 1}


def test_positions_only_grow_and_each_writer_has_its_own() -> None:
    """A gateway that forgets a writer, or goes back, would be sent the whole log after each break."""
    delivered = Delivered()
    assert delivered.followed() == []
    delivered.follow([Position(writer=1, number=5), Position(writer=2, number=9)], settled=False)
    delivered.follow([Position(writer=1, number=4), Position(writer=3, number=1)], settled=True)
    delivered.follow([], settled=True)
    assert followed(delivered) == {1: 5, 2: 9, 3: 1}


def test_a_writer_that_has_committed_nothing_is_followed_too() -> None:
    """A new installation would lose the first messages of all where its messenger is killed just then."""
    delivered = Delivered()
    delivered.follow([Position(writer=1, number=0)], settled=True)
    assert followed(delivered) == {1: 0}


def test_a_log_that_was_put_back_is_followed_from_where_it_is() -> None:
    """After a restored backup everybody would be sent away at each break, and get nothing new in between."""
    delivered = Delivered()
    delivered.follow([Position(writer=1, number=500), Position(writer=2, number=1)], settled=False)
    delivered.note(CHAT, 70)
    delivered.restart()
    assert delivered.last_seqs == {}
    # Until it is known where the log is, the old place is better than none
    assert followed(delivered) == {1: 500, 2: 1}
    delivered.follow([], settled=False)
    delivered.follow([Position(writer=1, number=20), Position(writer=3, number=4)], settled=True)
    delivered.follow([Position(writer=1, number=21)], settled=True)
    assert followed(delivered) == {1: 21, 3: 4}
