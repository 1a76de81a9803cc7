"""TCP ports that are free, or are ours to take."""

import contextlib
import secrets
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from palaver.runtime.startup import StartError

# Below the ports that Linux gives to outgoing connections, which could take one while its service restarts.
FREE_PORTS = range(20_000, 32_768)


class WantedPort(NamedTuple):
    """A port that a service is about to listen on, and the setting that says so."""

    setting: str
    host: str
    port: int


def free_ports() -> Iterator[int]:
    """Ports that nobody listens on now, in no order, each once."""
    looked_at: set[int] = set()
    while len(looked_at) < len(FREE_PORTS):
        port = secrets.choice(FREE_PORTS)
        if port in looked_at:
            continue
        looked_at.add(port)
        with contextlib.suppress(OSError):
            listening("0.0.0.0", port).close()  # noqa: S104 - free on every address
            yield port


def listening(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # As the services do: a port in TIME_WAIT is free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def check_listening(wanted: Sequence[WantedPort]) -> None:
    """Raises `StartError` for a port that another program has, or that is wanted twice."""
    with contextlib.ExitStack() as held:
        for setting, host, port in wanted:
            try:
                held.enter_context(listening(host, port))
            except OSError as error:
                raise StartError(f"cannot listen on {host}:{port} ({setting}): {error.strerror}") from None
