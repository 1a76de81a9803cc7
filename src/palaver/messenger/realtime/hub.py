"""The open sockets of this replica, and fan-out to the gateways that hold them."""

from collections.abc import Iterable

from palaver.messenger.domain import Membership, Message
from palaver.messenger.events import Position, PresenceChanged, ReceiptMoved
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.protobuf import fill_new_messages, fill_stored_message
from palaver.messenger.realtime.gateway_connection import (
    ENTRY_BYTES,
    KEY_BYTES,
    SOCKET_BYTES,
    GatewayConnection,
    GatewayReply,
    Socket,
)
from palaver.messenger.realtime.message_spans import trace_of_message, trace_of_send

Numbers = dict[GatewayConnection, list[int]]


class Hub:
    """All open sockets by user. Delivering adds to gateways' outboxes; it never waits.

    `only`: the one gateway that is delivered to, because it missed something.
    """

    def __init__(self) -> None:
        self.online: dict[bytes, list[Socket]] = {}
        # Sockets that are not old clients'
        self._with_receipts = 0
        # (chat id, user id) -> seq that reached an old client, which sends no receipts itself
        self.implied: dict[tuple[bytes, bytes], int] = {}

    def add(self, socket: Socket) -> bool:
        """Adds a socket; True: it is the user's first."""
        socket.gateway.sockets[socket.number] = socket
        sockets = self.online.setdefault(socket.user_id, [])
        sockets.append(socket)
        self._with_receipts += not socket.implicit
        return len(sockets) == 1

    def remove(self, socket: Socket) -> bool:
        """Removes a socket; True: it was the user's last."""
        socket.gateway.sockets.pop(socket.number, None)
        sockets = self.online.get(socket.user_id)
        if sockets is None or socket not in sockets:
            return False
        sockets.remove(socket)
        self._with_receipts -= not socket.implicit
        if not sockets:
            del self.online[socket.user_id]
        return not sockets

    def cut_gateways(self) -> None:
        """Ends all streams: this replica has missed what the log no longer has. Gateways come back with the
        positions that they had followed, and not with those that this replica goes on from."""
        for gateway in {socket.gateway for sockets in self.online.values() for socket in sockets}:
            gateway.hold_deliveries()
            gateway.overrun.set()

    def deliver_send(self, send: PendingSend) -> None:
        """Delivers messages that were just committed to members, and to the sender's gateway that they
        are."""
        origin: GatewayConnection | None = None
        own = request = 0
        if type(send.reply) is GatewayReply:
            origin, own, request = send.reply.gateway, send.reply.socket, send.reply.request
        numbers = self._numbers_of_others(send, origin, own)
        near = numbers.pop(origin, []) if origin is not None else []
        if origin is not None and send.stored is None:
            origin.live.deliveries.add(
                request=request,
                first_seq=send.first_seq,
                ids=send.ids,
                created_at=send.created_at,
                sockets=near,
            )
            origin.wake(ENTRY_BYTES + KEY_BYTES * len(send.ids) + SOCKET_BYTES * len(near))
        elif near and origin is not None:
            numbers[origin] = near
        for gateway, sockets in numbers.items():
            add_new(send, gateway, sockets)

    def deliver_stored(
        self,
        membership: Membership,
        message: Message,
        only: GatewayConnection | None = None,
        commit: Position | None = None,
        sender: GatewayReply | None = None,
    ) -> None:
        """Delivers a message that was read from the store to members. `commit`: what wrote it, where it was
        missed. `sender`: who has sent it, and knows that it is stored."""
        for gateway, numbers in self._numbers_of_members(membership, message.seq, only, sender).items():
            add_stored(gateway, message, numbers, commit=commit, missed=only is not None)

    def deliver_change(
        self, membership: Membership, message: Message, only: GatewayConnection | None = None
    ) -> None:
        """Delivers an edited or deleted message to members."""
        for gateway, numbers in self.numbers_of(membership.members, only).items():
            add_stored(gateway, message, numbers, changed=True, missed=only is not None)

    def deliver_receipt(
        self, membership: Membership, moved: ReceiptMoved, only: GatewayConnection | None = None
    ) -> None:
        """Delivers to members how far one of them has received and read. Old clients have no frame for it,
        and each delivery to them implies one: in a large group of theirs that would be members times
        members."""
        if not self._with_receipts:
            return
        for gateway, numbers in self.numbers_of(membership.members, only, with_receipts=True).items():
            (gateway.outbox if only else gateway.live).receipts.add(
                chat_id=moved.chat_id,
                user_id=moved.user_id,
                received_seq=moved.received_seq,
                read_seq=moved.read_seq,
                sockets=numbers,
            )
            wake(gateway, ENTRY_BYTES + SOCKET_BYTES * len(numbers), missed=only is not None)

    def deliver_typing(self, membership: Membership, user_id: bytes) -> None:
        """Delivers to the other members that one of them is typing."""
        for gateway, numbers in self.numbers_of(membership.members - {user_id}).items():
            gateway.live.typings.add(chat_id=membership.chat_id, user_id=user_id, sockets=numbers)
            gateway.wake(ENTRY_BYTES + SOCKET_BYTES * len(numbers))

    def deliver_presence(
        self, changed: PresenceChanged, companions: Iterable[bytes], only: GatewayConnection | None = None
    ) -> None:
        """Delivers to companions that a user came or went."""
        for gateway, numbers in self.numbers_of(companions, only).items():
            (gateway.outbox if only else gateway.live).presences.add(
                user_id=changed.user_id,
                online=changed.online,
                last_seen_at=changed.last_seen_at,
                sockets=numbers,
            )
            wake(gateway, ENTRY_BYTES + SOCKET_BYTES * len(numbers), missed=only is not None)

    def numbers_of(
        self,
        users: Iterable[bytes],
        only: GatewayConnection | None = None,
        *,
        with_receipts: bool = False,
    ) -> Numbers:
        """The open sockets of users, by gateway; or those of them that are not old clients'."""
        numbers: Numbers = {}
        for user_id in users:
            for socket in self.online.get(user_id, ()):
                if (only is None or socket.gateway is only) and not (with_receipts and socket.implicit):
                    numbers.setdefault(socket.gateway, []).append(socket.number)
        return numbers

    def _numbers_of_others(self, send: PendingSend, origin: GatewayConnection | None, own: int) -> Numbers:
        """The members' sockets but the one that sent."""
        chat_id, last_seq = send.membership.chat_id, send.last_seq
        numbers: Numbers = {}
        for user_id in send.membership.members:
            for socket in self.online.get(user_id, ()):
                if socket.number == own and socket.gateway is origin:
                    continue
                if socket.floors and socket.passes_over(chat_id, last_seq):
                    continue
                if socket.implicit and user_id != send.sender_id:
                    self.implied[chat_id, user_id] = last_seq
                numbers.setdefault(socket.gateway, []).append(socket.number)
        return numbers

    def _numbers_of_members(
        self,
        membership: Membership,
        seq: int,
        only: GatewayConnection | None,
        sender: GatewayReply | None,
    ) -> Numbers:
        numbers: Numbers = {}
        for user_id in membership.members:
            for socket in self.online.get(user_id, ()):
                if only is not None and socket.gateway is not only:
                    continue
                if sender is not None and socket.gateway is sender.gateway and socket.number == sender.socket:
                    continue
                if socket.floors and socket.passes_over(membership.chat_id, seq):
                    continue
                if socket.implicit:
                    self.implied[membership.chat_id, user_id] = seq
                numbers.setdefault(socket.gateway, []).append(socket.number)
        return numbers


def add_new(send: PendingSend, gateway: GatewayConnection, numbers: list[int]) -> None:
    """Adds a send's new messages to a gateway's outbox: all of them at once, as they were sent."""
    delivery = gateway.live.deliveries.add(sockets=numbers, traceparent=trace_of_send(send).traceparent)
    size = KEY_BYTES * len(send.ids) + SOCKET_BYTES * len(numbers)
    gateway.wake(ENTRY_BYTES + size + fill_new_messages(delivery, send))


def add_stored(
    gateway: GatewayConnection,
    message: Message,
    numbers: list[int],
    *,
    commit: Position | None = None,
    changed: bool = False,
    missed: bool = False,
    resumed: bool = False,
) -> None:
    """Adds one stored message to a gateway's outbox; a missed one before those that are held."""
    outbox = gateway.outbox if missed else gateway.live
    delivery = outbox.deliveries.add(
        sockets=numbers,
        changed=changed,
        resumed=resumed,
        traceparent=trace_of_message(message).traceparent,
    )
    fill_stored_message(delivery, message)
    if commit is not None:
        delivery.commit.writer, delivery.commit.number = commit
    wake(gateway, ENTRY_BYTES + SOCKET_BYTES * len(numbers) + 2 * len(message.text), missed=missed)


def wake(gateway: GatewayConnection, size: int, *, missed: bool) -> None:
    """Lets a gateway's outbox be written, to which about `size` bytes were added."""
    if missed:
        gateway.wake_missed(size)
    else:
        gateway.wake(size)
