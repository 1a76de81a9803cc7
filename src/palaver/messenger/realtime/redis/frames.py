"""What replicas publish to each other through Redis, in MessagePack.

What a replica publishes at once is one flush. It has a frame for each topic, with the events that have it,
and behind them one head, for all replicas: the positions of its transactions. So a replica that subscribes to
none of the topics counts the numbers nevertheless, and one that does has all events of a flush when its head
arrives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from palaver.messenger.events import Event, Position
from palaver.messenger.realtime.bus import Published

# An event with more topics than this travels in the head: a presence in each of somebody's thousand chats
# would be a thousand frames
MOST_FRAMES = 16


class Publication(NamedTuple):
    """A transaction, or what is not committed at all, on its way to others."""

    position: Position | None
    events: Sequence[Published]


class Placed(msgspec.Struct, array_like=True, gc=False):
    """An event, by its place: the `event`th of the flush's `transaction`th. `topics`: in a head, whom it
    concerns."""

    transaction: int
    number: int
    event: Event
    topics: Sequence[bytes] = ()


class Frame(msgspec.Struct, array_like=True, gc=False):
    """Events of one topic. `has_head`: they are complete when the head of the flush arrives; else nothing
    follows, because none of it is committed."""

    replica: bytes
    flush: int
    has_head: bool
    events: list[Placed]


class Head(msgspec.Struct, array_like=True, gc=False):
    """The end of a flush. `positions`: of its transactions, in their order. `has_dropped`: the replica could
    not publish some before it, which are in the log."""

    replica: bytes
    flush: int
    has_dropped: bool
    positions: list[Position | None]
    events: list[Placed] = []


encode = msgspec.msgpack.Encoder().encode
decode_frame = msgspec.msgpack.Decoder(Frame).decode
decode_head = msgspec.msgpack.Decoder(Head).decode


class Flush(NamedTuple):
    """Frames by topic, and the head; none where nothing of it is committed."""

    frames: dict[bytes, Frame]
    head: Head | None


def make_flush(replica: bytes, number: int, publications: Sequence[Publication], has_dropped: bool) -> Flush:
    """What a replica publishes at once."""
    has_head = has_dropped or any(
        position is not None or any(len(one.topics) > 1 for one in events)
        for position, events in publications
    )
    frames: dict[bytes, Frame] = {}
    head = Head(replica, number, has_dropped, [position for position, _ in publications], [])
    for transaction, (_, events) in enumerate(publications):
        for place, (topics, event) in enumerate(events):
            if len(topics) > MOST_FRAMES:
                head.events.append(Placed(transaction, place, event, list(topics)))
                continue
            placed = Placed(transaction, place, event)
            for topic in topics:
                frame = frames.setdefault(topic, Frame(replica, number, has_head, []))
                frame.events.append(placed)
    return Flush(frames, head if has_head else None)
