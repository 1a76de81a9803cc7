"""Whom messages are told to, and in which words."""

from collections.abc import Sequence

import pytest

from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import Delivery
from palaver.messenger.domain import Membership, Message
from palaver.messenger.events import Position, PresenceChanged, ReceiptMoved
from palaver.messenger.pending_send import PendingSend, StoredKey
from palaver.messenger.realtime import gateway_connection as module
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.realtime.gateway_connection import GatewayConnection, GatewayReply, Socket
from palaver.messenger.realtime.hub import Hub
from tests.harness.noted_replies import NotedReply
from tests.harness.stream_peers import NotedStream

CHAT = new_id()
ALICE, BOB, CAROL = new_id(), new_id(), new_id()


class Place:
    """A hub with two gateways."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.near = GatewayConnection(FollowedPositions(), NotedStream(is_writable=False))
        self.far = GatewayConnection(FollowedPositions(), NotedStream(is_writable=False))
        self.membership = Membership(CHAT, True, 1, frozenset([ALICE, BOB]))
        self._number = 0

    def open(self, gateway: GatewayConnection, user_id: bytes, *, implicit: bool = False) -> Socket:
        """Opens a socket."""
        self._number += 1
        socket = Socket(self._number, gateway, user_id, new_id(), 1, implicit)
        self.hub.add(socket)
        return socket

    def send(
        self, *texts: str, origin: Socket | None = None, stored: Sequence[StoredKey] = ()
    ) -> PendingSend:
        """A request of Alice's, as it was written at seqs 5, 6 …"""
        reply = GatewayReply(origin.gateway, origin.number, 77) if origin is not None else NotedReply()
        send = PendingSend(self.membership, ALICE, [new_id() for _ in texts], list(texts), reply)
        send.first_seq, send.created_at = 5, 123
        send.ids = [new_id() for _ in texts]
        send.stored = list(stored) or None
        return send


@pytest.fixture
def place() -> Place:
    """A hub with two gateways."""
    return Place()


def told(gateway: GatewayConnection) -> list[Delivery]:
    """What a gateway is told."""
    return list(gateway.outbox.deliveries)


def message(seq: int, sender: bytes = ALICE) -> Message:
    """A stored message."""
    return Message(CHAT, seq, new_id(), sender, new_id(), f"text {seq}", 123, edited_at=124)


async def test_all_sockets_of_members_are_told_but_the_one_that_sent(place: Place) -> None:
    """Senders would see their message twice, or their other devices never."""
    sender = place.open(place.near, ALICE)
    other, bob, away = place.open(place.near, ALICE), place.open(place.near, BOB), place.open(place.far, BOB)
    place.open(place.near, CAROL)
    send = place.send("a", "b", origin=sender)
    place.hub.deliver_send(send)
    (own,) = told(place.near)
    assert set(own.sockets) == {other.number, bob.number}
    assert (own.request, own.first_seq, list(own.ids)) == (77, 5, send.ids)
    # The gateway that sent it knows the rest
    assert (own.chat_id, own.sender_id, list(own.texts), list(own.client_ids)) == (b"", b"", [], [])
    (foreign,) = told(place.far)
    assert list(foreign.sockets) == [away.number]
    assert (foreign.request, foreign.chat_id, foreign.sender_id) == (0, CHAT, ALICE)
    assert (list(foreign.texts), list(foreign.client_ids)) == (["a", "b"], send.client_ids)
    assert (foreign.first_seq, list(foreign.ids), foreign.created_at) == (5, send.ids, 123)


async def test_a_sender_alone_is_acknowledged(place: Place) -> None:
    """Nobody could write to themselves, or to somebody who is offline."""
    sender = place.open(place.near, ALICE)
    place.hub.deliver_send(place.send("a", origin=sender))
    (own,) = told(place.near)
    assert (own.request, list(own.sockets)) == (77, [])


async def test_what_a_call_sends_is_told_to_all_devices(place: Place) -> None:
    """A message sent over REST would not appear in the sender's own open chat."""
    sockets = [place.open(place.near, ALICE), place.open(place.near, BOB)]
    place.hub.deliver_send(place.send("a"))
    (one,) = told(place.near)
    assert set(one.sockets) == {socket.number for socket in sockets}
    assert list(one.texts) == ["a"]


async def test_sockets_of_other_gateways_may_have_the_senders_number(place: Place) -> None:
    """Numbers are the gateways' own: somebody on another one would miss the message."""
    sender, other = place.open(place.near, ALICE), place.open(place.far, BOB)
    other.number = sender.number
    place.hub.deliver_send(place.send("a", origin=sender))
    assert [list(one.sockets) for one in told(place.far)] == [[other.number]]


async def test_of_a_request_that_was_stored_in_part_only_the_new_is_told(place: Place) -> None:
    """Members would see the old part again."""
    sender, bob = place.open(place.near, ALICE), place.open(place.near, BOB)
    old, new = (StoredKey(seq, new_id(), 123) for seq in (2, 5))
    send = place.send("old", "new", "new again", origin=sender, stored=[old, new, new])
    send.ids = [new.id]
    place.hub.deliver_send(send)
    (one,) = told(place.near)
    assert (one.request, list(one.sockets)) == (0, [bob.number])
    assert (one.first_seq, list(one.ids), list(one.texts)) == (5, [new.id], ["new"])
    assert list(one.client_ids) == [send.client_ids[1]]


async def test_a_delivery_to_an_old_client_counts_as_received(place: Place) -> None:
    """Statuses of messages to old clients would stay at `created`."""
    place.open(place.near, ALICE, implicit=True)
    place.open(place.near, BOB, implicit=True)
    place.hub.deliver_send(place.send("a", "b"))
    assert place.hub.implied == {(CHAT, BOB): 6}


async def test_a_socket_that_resumes_is_left_to_its_resume(place: Place) -> None:
    """It would be told of the newest message twice, or before older ones."""
    resuming, other = place.open(place.near, BOB), place.open(place.near, BOB)
    resuming.floors = {CHAT: 5}
    place.hub.deliver_send(place.send("a"))
    for seq in (5, 6):
        place.hub.deliver_stored(place.membership, message(seq))
    assert [list(one.sockets) for one in told(place.near)] == [
        [other.number],
        [other.number],
        [resuming.number, other.number],
    ]


async def test_what_a_gateway_missed_is_told_to_it_alone_and_before_what_is_held(place: Place) -> None:
    """Other gateways would hear it again, and the one that missed it in the wrong order."""
    near, _ = place.open(place.near, BOB), place.open(place.far, BOB)
    place.near.hold_deliveries()
    place.hub.deliver_send(place.send("new"))
    place.hub.deliver_stored(place.membership, message(4), only=place.near, commit=Position(1, 9))
    (missed,) = told(place.near)
    assert (missed.first_seq, list(missed.sockets)) == (4, [near.number])
    # By which the gateway passes over it for sockets that were opened later
    assert (missed.commit.writer, missed.commit.number) == (1, 9)
    assert [one.first_seq for one in told(place.far)] == [5]
    place.near.release_deliveries()
    assert [one.first_seq for one in told(place.near)] == [4, 5]


async def test_a_change_is_told_to_all_members(place: Place) -> None:
    """Edited and deleted messages would stay on screens as they were."""
    sockets = [place.open(place.near, ALICE), place.open(place.near, BOB)]
    place.open(place.near, CAROL)
    place.hub.deliver_change(place.membership, message(3))
    (one,) = told(place.near)
    assert set(one.sockets) == {socket.number for socket in sockets}
    assert (one.changed, one.first_seq, one.edited_at) == (True, 3, 124)


async def test_receipts_and_typing_are_told_to_members(place: Place) -> None:
    """Nobody would see what was read, and the typist would see themselves type."""
    alice, bob = place.open(place.near, ALICE), place.open(place.near, BOB)
    place.open(place.near, CAROL)
    place.hub.deliver_receipt(place.membership, ReceiptMoved(CHAT, BOB, 4, 3))
    place.hub.deliver_typing(place.membership, BOB)
    (receipt,), (typing,) = place.near.outbox.receipts, place.near.outbox.typings
    assert set(receipt.sockets) == {alice.number, bob.number}
    assert (receipt.chat_id, receipt.user_id, receipt.received_seq, receipt.read_seq) == (CHAT, BOB, 4, 3)
    assert list(typing.sockets) == [alice.number]


async def test_old_clients_are_not_told_of_receipts(place: Place) -> None:
    """A message to a large group of old clients would be followed by as many receipts as it has members, each
    for all of them."""
    old, bob = place.open(place.near, ALICE), place.open(place.near, BOB)
    old.implicit = True
    place.hub.deliver_receipt(place.membership, ReceiptMoved(CHAT, BOB, 4, 3))
    (receipt,) = place.near.outbox.receipts
    assert list(receipt.sockets) == [bob.number]


async def test_presence_is_told_to_companions_alone(place: Place) -> None:
    """Strangers would see who is online (promise P5)."""
    alice = place.open(place.near, ALICE)
    place.open(place.near, CAROL)
    place.hub.deliver_presence(PresenceChanged(BOB, True, 9), [ALICE])
    (one,) = place.near.outbox.presences
    assert (one.user_id, one.online, one.last_seen_at, list(one.sockets)) == (BOB, True, 9, [alice.number])


async def test_first_and_last_sockets_are_known(place: Place) -> None:
    """Somebody with two devices would go offline with one of them."""
    one = Socket(1, place.near, ALICE, new_id(), 1, implicit=False)
    two = Socket(2, place.far, ALICE, new_id(), 1, implicit=False)
    assert (place.hub.add(one), place.hub.add(two)) == (True, False)
    assert (place.hub.remove(one), place.hub.remove(two)) == (False, True)
    assert place.hub.remove(two) is False
    assert place.hub.online == {}
    assert place.near.sockets == {}


async def test_what_else_a_gateway_missed_is_told_to_it_alone(place: Place) -> None:
    """Receipts, changes and presence that moved while a stream was broken would be lost, or come twice."""
    near, _ = place.open(place.near, BOB), place.open(place.far, BOB)
    place.near.hold_deliveries()
    place.hub.deliver_change(place.membership, message(3), only=place.near)
    place.hub.deliver_receipt(place.membership, ReceiptMoved(CHAT, ALICE, 4, 3), only=place.near)
    place.hub.deliver_presence(PresenceChanged(ALICE, True, 9), [BOB], only=place.near)
    batch = place.near.outbox
    for entries in (batch.deliveries, batch.receipts, batch.presences):
        assert [list(one.sockets) for one in entries] == [[near.number]]
    assert place.far.outbox.ByteSize() == 0


async def test_much_that_moved_meanwhile_does_not_cut_a_gateway_off(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that missed many receipts would be cut off for asking for them, again and again."""
    monkeypatch.setattr(module, "MOST_BYTES", 10 * module.ENTRY_BYTES)
    place.open(place.near, BOB)
    place.near.hold_deliveries()
    for seq in range(20):
        place.hub.deliver_receipt(place.membership, ReceiptMoved(CHAT, ALICE, seq, seq), only=place.near)
        place.hub.deliver_presence(PresenceChanged(ALICE, True, 9), [BOB], only=place.near)
    assert not place.near.overrun.is_set()


@pytest.mark.parametrize("kind", ["new", "own", "stored", "changed", "receipt", "typing", "presence"])
async def test_what_waits_is_counted_with_its_sockets(place: Place, kind: str) -> None:
    """A batch that is taken for small would not be split, and gRPC refuse it: the stream would break."""
    sender = place.open(place.near, ALICE)
    for _ in range(2_000):
        place.open(place.near, BOB)
    for _ in range(10):
        match kind:
            case "new":
                place.hub.deliver_send(place.send(*["\N{FIRE}"] * 100))
            case "own":
                place.hub.deliver_send(place.send(*["\N{FIRE}"] * 100, origin=sender))
            case "stored":
                place.hub.deliver_stored(place.membership, message(3))
            case "changed":
                place.hub.deliver_change(place.membership, message(3))
            case "receipt":
                place.hub.deliver_receipt(place.membership, ReceiptMoved(CHAT, ALICE, 4, 3))
            case "typing":
                place.hub.deliver_typing(place.membership, ALICE)
            case "presence":
                place.hub.deliver_presence(PresenceChanged(ALICE, True, 5), [BOB])
    # Batches are measured exactly where this says a quarter of their bound: it may be that much too small
    assert place.near.outbox.ByteSize() < 2 * place.near._bytes
