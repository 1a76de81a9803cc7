"""What replicas publish to each other through Redis."""

from palaver.contracts.ids import new_id
from palaver.messenger.events import MessageChanged, Position, PresenceChanged, Typing
from palaver.messenger.realtime.bus import Published
from palaver.messenger.realtime.redis.bus import in_order
from palaver.messenger.realtime.redis.frames import (
    MOST_FRAMES,
    Publication,
    decode_frame,
    decode_head,
    encode,
    make_flush,
)

CHAT, USER, REPLICA = new_id(), new_id(), new_id()


def test_events_of_one_topic_are_one_frame() -> None:
    """A busy chat would cost Redis a message for each of its own."""
    publications = [
        Publication(Position(1, number), [Published((CHAT,), MessageChanged(CHAT, number))])
        for number in range(1, 4)
    ]
    frames, head = make_flush(REPLICA, 7, publications, has_dropped=False)
    assert set(frames) == {CHAT}
    frame = decode_frame(encode(frames[CHAT]))
    assert (frame.replica, frame.flush, frame.has_head) == (REPLICA, 7, True)
    assert in_order(frame.events) == {number: [MessageChanged(CHAT, number + 1)] for number in range(3)}
    assert head is not None
    assert decode_head(encode(head)).positions == [Position(1, number) for number in range(1, 4)]


def test_an_event_of_very_many_topics_travels_once() -> None:
    """Somebody with a thousand chats would cost Redis a thousand messages each time that they come."""
    topics = [new_id() for _ in range(MOST_FRAMES + 1)]
    event = PresenceChanged(USER, True, 1)
    frames, head = make_flush(
        REPLICA, 1, [Publication(Position(1, 1), [Published(topics, event)])], has_dropped=False
    )
    assert not frames
    assert head is not None
    (placed,) = decode_head(encode(head)).events
    assert (placed.event, list(placed.topics)) == (event, topics)


def test_what_is_not_committed_has_no_head() -> None:
    """Each key that somebody presses would wake all replicas."""
    typing = Publication(None, [Published((CHAT,), Typing(CHAT, USER))])
    frames, head = make_flush(REPLICA, 1, [typing], has_dropped=False)
    assert head is None
    assert not frames[CHAT].has_head
