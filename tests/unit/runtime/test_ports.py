"""Ports that are free."""

import socket

from palaver.runtime.ports import free_ports


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    """An outgoing connection could take a service's port while it restarts."""
    free = free_ports()
    ports = [next(free) for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(20_000 <= port < 32_768 for port in ports)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports[0]))
