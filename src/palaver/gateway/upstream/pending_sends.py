"""Sends that the messenger has not answered yet."""

from collections.abc import Iterator

from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.contracts.messenger_pb2 import Delivery, GatewayBatch
from palaver.runtime.telemetry.trace_context import TraceContext

# What was sent again is remembered for so long. The messenger has told of it by then.
RESENT_SECONDS = 60.0


class InFlight:
    """A send that the messenger has not answered yet. `trace`: its place in a trace, below the client's
    span `parent_id`, if it has one. `heard_at`: nanoseconds since the epoch."""

    __slots__ = (
        "chat_id",
        "client_ids",
        "heard_at",
        "parent_id",
        "sender_id",
        "size",
        "socket",
        "texts",
        "token",
        "trace",
    )

    def __init__(
        self,
        socket: int,
        sender_id: bytes,
        chat_id: bytes,
        client_ids: list[bytes],
        texts: list[str],
        trace: TraceContext,
        token: str = "",
        parent_id: str = "",
        heard_at: int = 0,
    ) -> None:
        self.socket = socket
        self.sender_id = sender_id
        self.chat_id = chat_id
        self.client_ids = client_ids
        self.texts = texts
        self.trace = trace
        self.token = token
        self.parent_id = parent_id
        self.heard_at = heard_at
        # About how many bytes it takes in a batch
        self.size = 100 + 2 * (len(texts[0]) if len(texts) == 1 else sum(map(len, texts)))


class PendingSends:
    """All sends in flight by the number of their request, and what was sent again lately."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._request = 0
        self._in_flight: dict[int, InFlight] = {}
        self._bytes = 0
        # (chat, sender, client id) of what was sent again -> the socket that sent it
        self._resent: dict[tuple[bytes, bytes, bytes], int] = {}
        self._resent_until = 0.0

    def __len__(self) -> int:
        return len(self._in_flight)

    def add(self, sent: InFlight) -> int:
        """Takes a send. Returns the number of its request, never used twice. Raises `overloaded`."""
        if len(self._in_flight) >= self._most or self._bytes >= self._most_bytes:
            raise PalaverError(OVERLOADED, retry_after=1.0, in_flight=len(self._in_flight))
        self._request += 1
        self._in_flight[self._request] = sent
        self._bytes += sent.size
        return self._request

    def pop(self, request: int) -> InFlight | None:
        """The send that was just answered; None: it was answered before."""
        sent = self._in_flight.pop(request, None)
        if sent is not None:
            self._bytes -= sent.size
        return sent

    def senders(self) -> dict[int, str]:
        """The sockets that sent something: number -> token."""
        return {sent.socket: sent.token for sent in self._in_flight.values()}

    def again(self, now: float) -> Iterator[tuple[int, InFlight]]:
        """All of them by request, to be sent again on a new stream."""
        self._resent = {
            (sent.chat_id, sent.sender_id, client_id): sent.socket
            for sent in self._in_flight.values()
            for client_id in sent.client_ids
        }
        self._resent_until = now + RESENT_SECONDS
        return iter(self._in_flight.items())

    def leave_out_sender(self, delivery: Delivery) -> None:
        """What was sent again may have been stored at first, and comes as anybody's message then. Its sender
        is acknowledged, and not told."""
        if not self._resent or delivery.changed:
            return
        number = self._resent.get((delivery.chat_id, delivery.sender_id, delivery.client_ids[0]))
        if number is not None and number in delivery.sockets:
            delivery.sockets.remove(number)

    def pass_time(self, now: float) -> None:
        """Forgets what was sent again long ago."""
        if self._resent and now > self._resent_until:
            self._resent = {}


def add_send(batch: GatewayBatch, request: int, sent: InFlight, *, retry: bool) -> None:
    """Adds a send to a batch."""
    batch.sends.add(
        socket=sent.socket,
        request=request,
        chat_id=sent.chat_id,
        client_ids=sent.client_ids,
        texts=sent.texts,
        retry=retry,
        traceparent=sent.trace.traceparent,
    )
