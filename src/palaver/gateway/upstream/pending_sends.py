"""Sends, from a socket's frame to the messenger's answer."""

from collections.abc import Iterator
from typing import Protocol

from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.contracts.messenger_pb2 import Delivery, GatewayBatch
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext


class Sender(Protocol):
    """The socket that a send came from. It may be closed when that is sent again."""

    @property
    def number(self) -> int:
        """The socket's number, never used twice."""
        ...

    @property
    def user_id(self) -> bytes:
        """Whose socket it is."""
        ...

    @property
    def token(self) -> str:
        """The access token that it was opened with."""
        ...

    @property
    def opened_at(self) -> int:
        """Microseconds since the epoch, by the messenger's clock; 0: the messenger has not opened it yet."""
        ...

    @property
    def proof(self) -> bytes:
        """The messenger's proof of that."""
        ...


class PendingSend:
    """Messages to a chat, all of them or none. A frame codec makes it, and a socket's `accept` sends it off.

    `trace`: its place in a trace, below the client's span `parent_id`, if it has one. `received_at`:
    nanoseconds since the epoch. `size`: about how many bytes it takes in a batch.
    """

    __slots__ = (
        "chat_id",
        "client_ids",
        "parent_id",
        "received_at",
        "sender",
        "size",
        "texts",
        "trace",
    )

    sender: Sender
    parent_id: str
    received_at: int
    size: int

    def __init__(
        self, chat_id: bytes, client_ids: list[bytes], texts: list[str], trace: TraceContext = NO_TRACE
    ) -> None:
        self.chat_id = chat_id
        self.client_ids = client_ids
        self.texts = texts
        self.trace = trace

    def accept(
        self, sender: Sender, received_at: int, trace: TraceContext = NO_TRACE, parent_id: str = ""
    ) -> None:
        """The frame was checked: from here on the send has a sender, and a place in the gateway's trace."""
        self.sender = sender
        self.received_at = received_at
        self.trace = trace
        self.parent_id = parent_id
        texts = self.texts
        self.size = 100 + 2 * (len(texts[0]) if len(texts) == 1 else sum(map(len, texts)))


class PendingSends:
    """All sends that the messenger has not answered, by the number of their request."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._request = 0
        self._pending: dict[int, PendingSend] = {}
        self._bytes = 0
        # Users with something pending, while all that may be pending is
        self._crowd: set[bytes] = set()
        # (chat, sender, client id) of what was sent again -> the socket that sent it
        self._resent: dict[tuple[bytes, bytes, bytes], int] = {}
        self._last_resent = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, send: PendingSend) -> int:
        """The number of its request, never used twice. Raises `overloaded`."""
        if len(self._pending) >= self._most or self._bytes >= self._most_bytes:
            self._check_room(send.sender.user_id)
        elif self._crowd:
            self._crowd = set()
        self._request += 1
        self._pending[self._request] = send
        self._bytes += send.size
        return self._request

    def _check_room(self, user_id: bytes) -> None:
        """All places are taken: as many again are for users who have none, one for each, so that those who
        took them keep nobody out. Raises `overloaded`."""
        if not self._crowd:
            self._crowd = {send.sender.user_id for send in self._pending.values()}
        is_full = len(self._pending) >= 2 * self._most or self._bytes >= 2 * self._most_bytes
        if is_full or user_id in self._crowd:
            raise PalaverError(OVERLOADED, retry_after=1.0, in_flight=len(self._pending))
        self._crowd.add(user_id)

    def pop(self, request: int) -> PendingSend | None:
        """The send that was just answered; None: it was answered before."""
        send = self._pending.pop(request, None)
        if send is not None:
            self._bytes -= send.size
        return send

    def senders(self) -> Iterator[Sender]:
        """Whose sends they are; a sender with two comes twice."""
        return (send.sender for send in self._pending.values())

    def resend(self) -> Iterator[tuple[int, PendingSend]]:
        """All of them by request, to be sent again on a new stream."""
        self._resent = {
            (send.chat_id, send.sender.user_id, client_id): send.sender.number
            for send in self._pending.values()
            for client_id in send.client_ids
        }
        self._last_resent = self._request
        return iter(self._pending.items())

    def leave_out_sender(self, delivery: Delivery) -> None:
        """Removes the sender from a delivery of what was sent again. That may have been stored at first, and
        comes as anybody's message then; but its sender gets an acknowledgement, and no message."""
        if not self._resent or delivery.changed:
            return
        number = self._resent.get((delivery.chat_id, delivery.sender_id, delivery.client_ids[0]))
        if number is not None and number in delivery.sockets:
            delivery.sockets.remove(number)

    def forget_resent(self) -> None:
        """Call it at the end of a settled batch. Where all that was sent again is answered, it is stored
        within what the gateway has followed, and is not delivered any more."""
        if self._resent and next(iter(self._pending), self._last_resent + 1) > self._last_resent:
            self._resent = {}


def add_send(batch: GatewayBatch, request: int, send: PendingSend, *, retry: bool) -> None:
    """Adds a send to a batch."""
    batch.sends.add(
        socket=send.sender.number,
        request=request,
        chat_id=send.chat_id,
        client_ids=send.client_ids,
        texts=send.texts,
        retry=retry,
        traceparent=send.trace.traceparent,
    )
