"""What both ends of an HTTP/2 connection of ours do on the event loop: bytes, keep-alive, back-pressure."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from palaver.runtime.grpc.call_stream import CallStream
from palaver.runtime.grpc.http2.connection import Connection
from palaver.runtime.grpc.http2.events import DataReceived, Event
from palaver.runtime.grpc.http2.frames import ErrorCode, Http2Error
from palaver.runtime.telemetry.configuration import log

# What the network may lag behind before nothing more is written
BUFFER_BYTES = 256 * 1024


class KeepAlive(NamedTuple):
    """How a peer that has vanished is noticed: of so many ticks without a byte of its, each `ping_ticks`-th
    pings it, and the `dead_ticks`-th gives it up.

    Ticks are counted, and not time: while this process was stopped or late, nobody knows whether the peer was
    silent.
    """

    tick_seconds: float
    ping_ticks: int
    dead_ticks: int


# A peer that nobody can take the place of is given the time to come back
PATIENT = KeepAlive(5.0, 3, 5)


def be_patient() -> KeepAlive:
    """Gives a peer up after half a minute."""
    return PATIENT


class Http2Protocol(asyncio.Protocol):
    """One connection. It is the `Carrier` of its calls. `keep_alive` is asked at each tick."""

    def __init__(self, *, is_client: bool, keep_alive: Callable[[], KeepAlive] = be_patient) -> None:
        self.is_full = False
        self.calls: dict[int, CallStream] = {}
        self.closed = asyncio.Event()
        self._http2 = Connection(is_client=is_client)
        self._keep_alive = keep_alive
        self._silent_ticks = 0

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        transport.set_write_buffer_limits(BUFFER_BYTES)
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._keep_alive().tick_seconds, self._tick)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._silent_ticks = 0
        for event in self._http2.receive(data):
            if type(event) is DataReceived:
                self._receive_data(event)
            else:
                self.handle(event)
        self.flush()
        self._resume_blocked()
        failure = self._http2.failure
        if failure is not None:
            log.warning("grpc_peer_breaks_http2", cause=str(failure))
            self.finish_calls(failure)
            self._transport.close()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.is_full = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.is_full = False
        self._resume_blocked()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._timer.cancel()
        self.is_full = False
        self.finish_calls(error)
        self.closed.set()

    def handle(self, event: Event) -> None:
        """What came, but for data."""
        raise NotImplementedError

    def finish_calls(self, error: Exception | None) -> None:
        """No call gets anything any more."""
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.finish(error)

    def flush(self) -> None:
        """Sends what there is to be sent."""
        out = self._http2.take()
        # A call that ends with its connection is still reset: uvloop raises where the connection is gone
        if out and not self._transport.is_closing():
            self._transport.write(out)

    def send(self, stream_id: int, data: bytes) -> None:
        """See `Carrier`."""
        if stream_id in self.calls:
            self._http2.send_data(stream_id, data)
            self.flush()

    def has_room(self, stream_id: int) -> bool:
        """See `Carrier`."""
        return not self._http2.has_pending(stream_id)

    def consume(self, stream_id: int, size: int) -> None:
        """See `Carrier`."""
        self._http2.consume(stream_id, size)
        self.flush()

    def reset(self, stream_id: int) -> None:
        """See `Carrier`."""
        self.calls.pop(stream_id, None)
        self._http2.reset_stream(stream_id, ErrorCode.CANCEL)
        self.flush()
        if self.is_full:
            # Nobody reads what is behind it
            self.abort()

    def close(self) -> None:
        """Leaves, behind what was written."""
        if not self._transport.is_closing():
            self._http2.leave()
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Leaves at once."""
        self._transport.abort()

    def tick(self) -> None:
        """Once a tick."""

    def _receive_data(self, event: DataReceived) -> None:
        call = self.calls.get(event.stream_id)
        if call is None:
            self._http2.consume(event.stream_id, event.size)
            return
        call.feed(event.data, event.size)
        if event.ends:
            call.end_peer_side()

    def _resume_blocked(self) -> None:
        for call in list(self.calls.values()):
            call.resume_if_blocked()

    def _tick(self) -> None:
        keep_alive = self._keep_alive()
        self._timer = self._loop.call_later(keep_alive.tick_seconds, self._tick)
        self._http2.forgive()
        self._silent_ticks += 1
        if self._silent_ticks >= keep_alive.dead_ticks:
            self.finish_calls(Http2Error(ErrorCode.NO_ERROR, "the peer does not answer"))
            self.abort()
        elif self._silent_ticks % keep_alive.ping_ticks == 0:
            self._http2.ping()
            self.flush()
        self.tick()
