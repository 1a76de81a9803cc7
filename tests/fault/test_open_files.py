"""What clients leave of a gateway's open files."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.waiting import wait_until

# Hard limit of open files of each process
LIMITED = ("sh", "-c", 'ulimit -n 256 && exec "$0" "$@"')
CLIENTS = 400
# Each holds a connection of the gateway to auth for as long as a password's hash takes
CREDENTIALS = b'{"email": "nobody@example.org", "password": "wrong password"}'
SIGN_IN = (
    b"POST /v2/sessions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(CREDENTIALS), CREDENTIALS)
)
READY = b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def address_of(running: PalaverProcess) -> tuple[str, int]:
    """Where the gateway listens."""
    return "127.0.0.1", int(running.base_url.rpartition(":")[2])


def is_ready(address: tuple[str, int]) -> bool:
    """Whether the gateway answers that it can serve, if it lets this client in at all."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=2) as client:
        client.sendall(READY)
        return client.recv(100).startswith(b"HTTP/1.1 200")
    return False


def connect(address: tuple[str, int], number: int) -> set[socket.socket]:
    """So many new clients, as far as they are let in."""
    new: set[socket.socket] = set()
    for _ in range(number):
        with contextlib.suppress(OSError):
            client = socket.create_connection(address, timeout=1)
            client.setblocking(False)
            new.add(client)
    return new


def is_answered(client: socket.socket) -> bool:
    """Whether something has come. Raises `ConnectionError` where the client was cut off."""
    try:
        if not client.recv(65_536):
            raise ConnectionError
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def pressing_clients(address: tuple[str, int], sent: bytes, *, again: bool = False) -> Iterator[None]:
    """Clients that connect, all send, and connect again as soon as they are cut off, for the block.

    `again`: they also send again as soon as they are answered.
    """
    stopping = threading.Event()
    clients: set[socket.socket] = set()

    def press() -> None:
        while not stopping.is_set():
            new = connect(address, CLIENTS - len(clients))
            clients.update(new)
            for client in list(clients):
                try:
                    if client in new or (is_answered(client) and again):
                        client.sendall(sent)
                except OSError:
                    client.close()
                    clients.discard(client)
            time.sleep(0.001)
        for client in clients:
            client.close()

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize(
    ("sent", "again"),
    [(b"", False), (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", False), (SIGN_IN, True)],
    ids=["silent", "idle", "signing in"],
)
def test_a_restarted_messenger_is_reached_while_clients_use_up_the_files(
    tmp_path: Path, sent: bytes, again: bool
) -> None:
    """A crowd of clients would keep the gateway from its messenger for as long as it stays."""
    with running_palaver(tmp_path, through=LIMITED) as running:
        address = address_of(running)
        with pressing_clients(address, sent, again=again):
            wait_until(lambda: "connections_refused" in running.log("gateway"), "the gateway is full")
            running.wait_restarted("messenger", running.kill("messenger"))
            wait_until(
                lambda: running.log("gateway").count("attached to the messenger") > 1, "attached again"
            )
        wait_until(lambda: is_ready(address), "the gateway serves")
        assert "Too many open files" not in running.log("gateway")
        assert running.log("gateway").count("connections_refused") < 10
