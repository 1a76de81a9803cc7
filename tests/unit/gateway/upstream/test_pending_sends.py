"""Sends, until they are answered."""

from dataclasses import dataclass

import pytest

from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import Delivery
from palaver.gateway.upstream.pending_sends import PendingSend, PendingSends

CHAT, ALICE = new_id(), new_id()


@dataclass(frozen=True)
class Sender:
    """A socket of Alice's."""

    number: int
    token: str = ""
    opened_at: int = 5
    proof: bytes = b""
    user_id: bytes = ALICE


def accepted(sender: Sender, *texts: str) -> PendingSend:
    """A send that a socket has sent off."""
    send = PendingSend(CHAT, [new_id() for _ in texts], list(texts))
    send.accept(sender, 1)
    return send


def delivered_to(sends: PendingSends, send: PendingSend) -> list[int]:
    """Which of sockets 1 and 2 get a send that comes as anybody's message."""
    delivery = Delivery(chat_id=CHAT, sender_id=ALICE, client_ids=send.client_ids, sockets=[1, 2])
    sends.leave_out_sender(delivery)
    return list(delivery.sockets)


def test_answered_sends_make_room() -> None:
    """A gateway would refuse everything once it has sent as much as may wait."""
    sends = PendingSends(10, 2_000)
    first = sends.add(accepted(Sender(1), "x" * 500, "y" * 500))
    with pytest.raises(PalaverError) as refused:
        sends.add(accepted(Sender(1), "z"))
    assert refused.value.kind is OVERLOADED
    assert sends.pop(first) is not None
    assert sends.pop(first) is None
    assert sends.add(accepted(Sender(1), "z")) > first


def test_one_user_who_takes_all_places_keeps_nobody_out() -> None:
    """While the messenger is away one hot sender would have everybody's messages refused (promise P7)."""
    sends = PendingSends(3, 100_000)
    others = [new_id() for _ in range(4)]
    for _ in range(3):
        sends.add(accepted(Sender(1), "a"))
    requests = [sends.add(accepted(Sender(2, user_id=other), "b")) for other in others[:3]]
    for user_id in (ALICE, others[0], others[3]):
        with pytest.raises(PalaverError) as refused:
            sends.add(accepted(Sender(3, user_id=user_id), "c"))
        assert refused.value.kind is OVERLOADED
    # With places free again, everybody may have more than one
    for request in [1, *requests]:
        sends.pop(request)
    sends.add(accepted(Sender(2, user_id=others[0]), "d"))
    with pytest.raises(PalaverError):
        sends.add(accepted(Sender(2, user_id=others[0]), "e"))
    sends.add(accepted(Sender(2, user_id=others[1]), "f"))


def test_only_what_was_sent_again_is_kept_from_its_sender() -> None:
    """A user's second device would not get what the first one sends."""
    sends = PendingSends(10, 100_000)
    resent, new = accepted(Sender(1), "a"), accepted(Sender(2), "b")
    sends.add(resent)
    assert delivered_to(sends, resent) == [1, 2]
    assert len(list(sends.resend())) == 1
    sends.add(new)
    assert delivered_to(sends, resent) == [2]
    assert delivered_to(sends, new) == [1, 2]


def test_what_was_sent_again_is_forgotten_once_all_of_it_is_answered() -> None:
    """Each message would be compared with the sends of a break of last year."""
    sends = PendingSends(10, 100_000)
    first, second = accepted(Sender(1), "a"), accepted(Sender(1), "b")
    requests = [sends.add(first), sends.add(second)]
    list(sends.resend())
    # A busy gateway always has newer ones that wait
    sends.add(accepted(Sender(2), "c"))
    sends.pop(requests[1])
    sends.forget_resent()
    assert delivered_to(sends, first) == [2]
    sends.pop(requests[0])
    sends.forget_resent()
    assert delivered_to(sends, first) == [1, 2]
