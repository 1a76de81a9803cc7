"""How gRPC waits for the network."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

# More than a pair of sockets holds
WAKE_UPS = 65_536

# Without them the thread that waits for gRPC's events reads the connection itself. With them a thread of a
# pool does, so that a message waits for one more thread to wake up in each direction.
EXPERIMENTS = "-event_engine_client,-event_engine_listener"


def poll_in_one_thread() -> None:
    """Lets gRPC's own poller read connections, unless `GRPC_EXPERIMENTS` is set already.

    gRPC reads the variable when it is imported, and never again: call this before.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", EXPERIMENTS)


class WakeUps(socket.socket):
    """Where asyncio reads that gRPC has events: all that has been written about them, at once.

    gRPC writes a byte for each event, and reads one in each turn of the event loop, in which it handles all
    events. In a loop whose turns are long the others pile up, until gRPC's thread waits for room to write one
    more: from then on a turn brings one event, and a busy gateway gets next to nothing from the messenger.
    """

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """See `socket.socket`."""
        return super().recv(max(bufsize, WAKE_UPS), flags)


@contextlib.contextmanager
def reading_all_wake_ups() -> Iterator[None]:
    """Open gRPC's first channel or server of asyncio within it: that makes the one pair of sockets of all."""
    make_pair = socket.socketpair

    def make_reading_all(*args: Any, **kwargs: Any) -> tuple[socket.socket, socket.socket]:
        reading, writing = make_pair(*args, **kwargs)
        return WakeUps(fileno=reading.detach()), writing

    socket.socketpair = make_reading_all
    try:
        yield
    finally:
        socket.socketpair = make_pair
