"""A gRPC server that fails where its port is taken."""

import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Sequence

import grpc.aio

from palaver.runtime.grpc.polling import reading_all_wake_ups
from palaver.runtime.unix_sockets import SCHEME, remove_socket, remove_stale

MESSAGE_BYTES = 32 * 1024 * 1024
SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # Without it a second server would share the port, and take half of the connections
    ("grpc.so_reuseport", 0),
    # A peer that vanished is noticed within 40 s
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Peers may ping as often as this without being taken for an attack
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]


@contextlib.asynccontextmanager
async def serving_grpc(
    add_services: Callable[[grpc.aio.Server], None],
    host: str,
    port: int,
    grace: float,
    *,
    path: str = "",
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """Serves until the block ends, then waits `grace` seconds for calls. Yields the port too, for port 0.

    `path`: of a Unix socket, in place of host and port. Raises `OSError` where the port is taken.
    """
    with reading_all_wake_ups():
        server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=interceptors)
    add_services(server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if path:
        # gRPC itself would take it from a server that lives
        remove_stale(path)
        address = SCHEME + path
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        # gRPC names no reason; in practice it is the port
        raise OSError(errno.EADDRINUSE, f"address already in use: {address}") from error
    await server.start()
    try:
        yield server, 0 if path else bound
    finally:
        await server.stop(grace)
        if path:
            remove_socket(path)
