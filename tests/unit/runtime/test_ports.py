"""Ports that are free."""

import socket

import pytest

from palaver.runtime.ports import WantedPort, check_listening, free_ports
from palaver.runtime.startup import StartError


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    """An outgoing connection could take a service's port while it restarts."""
    free = free_ports()
    ports = [next(free) for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(20_000 <= port < 32_768 for port in ports)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports[0]))


def test_a_port_that_is_wanted_twice_is_named() -> None:
    """The service that comes second would die again and again."""
    port = next(free_ports())
    wanted = [WantedPort("a.port", "127.0.0.1", port), WantedPort("b.port", "127.0.0.1", port)]
    with pytest.raises(StartError, match=rf"cannot listen on 127.0.0.1:{port} \(b\.port\): "):
        check_listening(wanted)
    check_listening(wanted[:1])
