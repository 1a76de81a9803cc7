"""How gRPC waits for the network."""

import os

# Without them the thread that waits for gRPC's events reads the connection itself. With them a thread of a
# pool does, so that a message waits for one more thread to wake up in each direction.
EXPERIMENTS = "-event_engine_client,-event_engine_listener"


def poll_in_one_thread() -> None:
    """Lets gRPC's own poller read connections, unless `GRPC_EXPERIMENTS` is set already.

    gRPC reads the variable when it is imported, and never again: call this before.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", EXPERIMENTS)
