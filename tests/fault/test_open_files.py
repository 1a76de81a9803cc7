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


@contextlib.contextmanager
def pressing_clients(address: tuple[str, int], sent: bytes) -> Iterator[None]:
    """Clients that connect, send, and connect again as soon as they are cut off, for the block."""
    stopping = threading.Event()

    def press() -> None:
        clients: dict[int, socket.socket] = {}
        while not stopping.is_set():
            for number in range(CLIENTS):
                client = clients.get(number)
                try:
                    if client is None:
                        clients[number] = client = socket.create_connection(address, timeout=1)
                        client.sendall(sent)
                        client.setblocking(False)
                    elif not client.recv(65_536):
                        raise ConnectionError
                except BlockingIOError:
                    pass
                except OSError:
                    if client is not None:
                        client.close()
                    clients.pop(number, None)
            time.sleep(0.001)
        for client in clients.values():
            client.close()

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["silent", "idle"])
def test_a_restarted_messenger_is_reached_while_clients_use_up_the_files(tmp_path: Path, sent: bytes) -> None:
    """A crowd of clients would keep the gateway from its messenger for as long as it stays."""
    with running_palaver(tmp_path, through=LIMITED) as running:
        address = address_of(running)
        with pressing_clients(address, sent):
            wait_until(lambda: "connections_refused" in running.log("gateway"), "the gateway is full")
            running.wait_restarted("messenger", running.kill("messenger"))
            wait_until(
                lambda: running.log("gateway").count("attached to the messenger") > 1, "attached again"
            )
        wait_until(lambda: is_ready(address), "the gateway serves")
        assert "Too many open files" not in running.log("gateway")
        assert running.log("gateway").count("connections_refused") < 10
