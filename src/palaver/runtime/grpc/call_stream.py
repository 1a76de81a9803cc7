"""One gRPC call on an HTTP/2 connection of ours: a `MessageStream`."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from palaver.runtime.grpc.message_stream import StreamReceiver
from palaver.runtime.grpc.messages import MessageReader, StatusError, encode_message

# A message's bytes -> the message
Decode = Callable[[bytes], Any]


class Carrier(Protocol):
    """The connection that a call is on."""

    @property
    def is_full(self) -> bool:
        """Whether the network takes no more now."""
        ...

    def send(self, stream_id: int, data: bytes) -> None:
        """Sends bytes of a call; what the peer has no room for waits."""
        ...

    def has_room(self, stream_id: int) -> bool:
        """Whether the peer has room for more of a call."""
        ...

    def consume(self, stream_id: int, size: int) -> None:
        """Lets the peer send as much again."""
        ...

    def reset(self, stream_id: int) -> None:
        """Gives a call up, with all that waits."""
        ...


class CallStream:
    """A call, until its end."""

    def __init__(self, carrier: Carrier, stream_id: int, decode: Decode, most_bytes: int) -> None:
        self.stream_id = stream_id
        self._carrier = carrier
        self._decode = decode
        self._reader = MessageReader(most_bytes)
        self._receiver: StreamReceiver | None = None
        self._is_paused = True
        # Messages that came while it was paused, and the bytes that the peer was not given back for them
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        # The receiver waits for `resume_writing`
        self._is_blocked = False
        self._peer_ended = False
        self._error: Exception | None = None
        self._ended = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended.is_set()

    @property
    def is_writable(self) -> bool:
        """See `MessageStream`."""
        if self._carrier.is_full or not self._carrier.has_room(self.stream_id):
            self._is_blocked = True
            return False
        return True

    def write(self, message: Any) -> None:
        """See `MessageStream`."""
        self._carrier.send(self.stream_id, encode_message(message.SerializeToString()))

    def receive_with(self, receiver: StreamReceiver) -> None:
        """See `MessageStream`."""
        self._receiver = receiver
        self.resume_reading()

    def pause_reading(self) -> None:
        """See `MessageStream`."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """See `MessageStream`."""
        self._is_paused = False
        while self._unread and not self._is_paused:
            self._deliver(self._unread.popleft())
        if self._is_paused:
            return
        size, self._unread_bytes = self._unread_bytes, 0
        if size:
            self._carrier.consume(self.stream_id, size)
        if self._peer_ended:
            self.finish()

    def cancel(self) -> None:
        """See `MessageStream`."""
        self.finish()
        self._carrier.reset(self.stream_id)

    async def ended(self) -> None:
        """See `MessageStream`."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    # ---- what the connection calls ----

    def feed(self, data: bytes, size: int) -> None:
        """Takes bytes of the peer; `size`: what they count for in its window."""
        if self.has_ended:
            self._carrier.consume(self.stream_id, size)
            return
        try:
            self._reader.feed(data)
            while (message := self._reader.next()) is not None:
                if self._is_paused:
                    self._unread.append(message)
                else:
                    self._deliver(message)
        except StatusError as error:
            self.finish(error)
        if self._is_paused and not self.has_ended:
            self._unread_bytes += size
        else:
            self._carrier.consume(self.stream_id, size)

    def end_peer_side(self) -> None:
        """The peer sends nothing more."""
        if self._reader.is_within_message:
            self.finish(StatusError(grpc.StatusCode.INTERNAL, "the last message is cut off"))
        elif self._is_paused:
            # What it sent last is still being handled
            self._peer_ended = True
        else:
            self.finish()

    def finish(self, error: Exception | None = None) -> None:
        """See `MessageStream`."""
        if not self.has_ended:
            self._error = error
            self._unread.clear()
            self._ended.set()

    def resume_if_blocked(self) -> None:
        """The peer or the network may have room again."""
        if self._is_blocked and self._receiver is not None and not self.has_ended and self.is_writable:
            self._is_blocked = False
            self._receiver.resume_writing()

    def _deliver(self, message: bytes) -> None:
        if self.has_ended:
            return
        assert self._receiver is not None
        try:
            self._receiver.receive(self._decode(message))
        except Exception as error:
            # Whatever it was: the other calls, and the connection, go on
            self.finish(error)
