"""Who is there, and telling them: the sockets of this replica, and fan-out to the gateways that hold them."""

from collections.abc import Iterable

from palaver.messenger.domain import Message
from palaver.messenger.realtime.gateway_connection import ENTRY_BYTES, GatewayConnection, Socket
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.realtime.message_spans import trace_of_append, trace_of_message
from palaver.messenger.sequencing import Append

Numbers = dict[GatewayConnection, list[int]]


class Hub:
    """All open sockets by user. Telling adds to attachments' outboxes; it never waits."""

    def __init__(self) -> None:
        self.online: dict[bytes, list[Socket]] = {}
        # Sockets that are no old clients'
        self._hear_receipts = 0
        # (chat id, user id) -> seq that reached an old client, which says no receipts itself
        self.implied: dict[tuple[bytes, bytes], int] = {}

    def add(self, socket: Socket) -> bool:
        """Adds a socket; True: it is the user's first."""
        socket.gateway.sockets[socket.number] = socket
        sockets = self.online.setdefault(socket.user_id, [])
        sockets.append(socket)
        self._hear_receipts += not socket.implicit
        return len(sockets) == 1

    def remove(self, socket: Socket) -> bool:
        """Removes a socket; True: it was the user's last."""
        socket.gateway.sockets.pop(socket.number, None)
        sockets = self.online.get(socket.user_id)
        if sockets is None or socket not in sockets:
            return False
        sockets.remove(socket)
        self._hear_receipts -= not socket.implicit
        if not sockets:
            del self.online[socket.user_id]
        return not sockets

    def tell_append(self, append: Append) -> None:
        """Tells members of messages that were just committed, and the sender's gateway that they are."""
        audience = append.audience
        chat_id = audience.chat_id
        origin, own = append.origin, append.socket
        last_seq = append.first_seq + len(append.ids) - 1
        near: list[int] = []
        far: Numbers = {}
        for user_id in audience.members:
            for socket in self.online.get(user_id, ()):
                if socket.number == own and socket.gateway is origin:
                    continue
                if socket.floors and socket.passes_over(chat_id, last_seq):
                    continue
                if socket.implicit and user_id != append.sender_id:
                    self.implied[chat_id, user_id] = last_seq
                if socket.gateway is origin:
                    near.append(socket.number)
                else:
                    far.setdefault(socket.gateway, []).append(socket.number)
        if origin is not None and append.stored is None:
            origin.deliveries.add(
                request=append.request,
                first_seq=append.first_seq,
                ids=append.ids,
                created_at=append.created_at,
                sockets=near,
            )
            origin.wake()
        elif near and origin is not None:
            far[origin] = near
        for gateway, numbers in far.items():
            tell_new(append, gateway, numbers)

    def tell_messages(
        self,
        audience: Audience,
        messages: Iterable[Message],
        missed_by: GatewayConnection | None = None,
    ) -> None:
        """Tells members of messages that were read from the journal; on one gateway only, where it may
        have missed them."""
        for message in messages:
            numbers = self._numbers(audience, message.seq, missed_by)
            for gateway, told in numbers.items():
                add_delivery(gateway, message, told, missed=missed_by is not None)

    def tell_changed(
        self, audience: Audience, message: Message, missed_by: GatewayConnection | None = None
    ) -> None:
        """Tells members that a message was edited or deleted; on one gateway only, where it may have missed
        that."""
        for gateway, numbers in self.numbers_of(audience.members).items():
            if missed_by is None or gateway is missed_by:
                add_delivery(gateway, message, numbers, changed=True, missed=missed_by is not None)

    def tell_receipt(self, audience: Audience, user_id: bytes, received_seq: int, read_seq: int) -> None:
        """Tells members how far one of them has received and read. Old clients have no words for it, and each
        delivery to them implies one: in a large group of theirs that would be members times members."""
        if not self._hear_receipts:
            return
        for gateway, numbers in self.numbers_of(audience.members, all_of_them=False).items():
            gateway.outbox.receipts.add(
                chat_id=audience.chat_id,
                user_id=user_id,
                received_seq=received_seq,
                read_seq=read_seq,
                sockets=numbers,
            )
            gateway.wake()

    def tell_typing(self, audience: Audience, user_id: bytes) -> None:
        """Tells the other members that one of them is typing."""
        for gateway, numbers in self.numbers_of(audience.members - {user_id}).items():
            gateway.outbox.typings.add(chat_id=audience.chat_id, user_id=user_id, sockets=numbers)
            gateway.wake()

    def tell_presence(
        self, user_id: bytes, online: bool, last_seen_at: int, companions: Iterable[bytes]
    ) -> None:
        """Tells companions that a user came or went."""
        for gateway, numbers in self.numbers_of(companions).items():
            gateway.outbox.presences.add(
                user_id=user_id, online=online, last_seen_at=last_seen_at, sockets=numbers
            )
            gateway.wake()

    def numbers_of(self, users: Iterable[bytes], *, all_of_them: bool = True) -> Numbers:
        """The open sockets of users, by attachment; or those of them that are no old clients'."""
        numbers: Numbers = {}
        for user_id in users:
            for socket in self.online.get(user_id, ()):
                if all_of_them or not socket.implicit:
                    numbers.setdefault(socket.gateway, []).append(socket.number)
        return numbers

    def _numbers(self, audience: Audience, seq: int, only: GatewayConnection | None) -> Numbers:
        numbers: Numbers = {}
        for user_id in audience.members:
            for socket in self.online.get(user_id, ()):
                if only is not None and socket.gateway is not only:
                    continue
                if socket.floors and socket.passes_over(audience.chat_id, seq):
                    continue
                if socket.implicit:
                    self.implied[audience.chat_id, user_id] = seq
                numbers.setdefault(socket.gateway, []).append(socket.number)
        return numbers


def tell_new(append: Append, gateway: GatewayConnection, numbers: list[int]) -> None:
    """Adds an append's new messages to a gateway's outbox: all of them at once, as they were sent."""
    client_ids, texts = append.client_ids, append.texts
    if append.stored is not None:
        # By id, since a request may name one client id twice
        stored = {message.id: message for message in append.stored}
        fresh = [stored[message_id] for message_id in append.ids]
        client_ids, texts = [message.client_id for message in fresh], [message.text for message in fresh]
    gateway.deliveries.add(
        chat_id=append.audience.chat_id,
        sender_id=append.sender_id,
        first_seq=append.first_seq,
        ids=append.ids,
        client_ids=client_ids,
        texts=texts,
        created_at=append.created_at,
        sockets=numbers,
        traceparent=trace_of_append(append).traceparent,
    )
    gateway.wake(ENTRY_BYTES + 8 * len(numbers) + 2 * sum(map(len, texts)))


def add_delivery(
    gateway: GatewayConnection,
    message: Message,
    numbers: list[int],
    *,
    changed: bool = False,
    missed: bool = False,
    resumed: bool = False,
) -> None:
    """Adds one stored message to a gateway's outbox; a missed one before those that are held."""
    deliveries = gateway.outbox.deliveries if missed else gateway.deliveries
    deliveries.add(
        chat_id=message.chat_id,
        sender_id=message.sender_id,
        first_seq=message.seq,
        ids=[message.id],
        client_ids=[message.client_id],
        texts=[message.text],
        created_at=message.created_at,
        sockets=numbers,
        changed=changed,
        edited_at=message.edited_at,
        deleted_at=message.deleted_at,
        # Of a change the message's own time says nothing: all who may read it are told
        catch_up=missed and not changed,
        resumed=resumed,
        traceparent=trace_of_message(message).traceparent,
    )
    size = ENTRY_BYTES + 8 * len(numbers) + 2 * len(message.text)
    if missed:
        gateway.wake_missed(size)
    else:
        gateway.wake(size)
