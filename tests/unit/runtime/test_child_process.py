"""Processes that another process starts."""

import socket

import pytest

from palaver.runtime.child_process import is_listened_on


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_listened_on_while_somebody_does(family: socket.AddressFamily, host: str) -> None:
    """`palaver up` would never say that a service is ready, or ask one that is not there all the time."""
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        assert not is_listened_on(host, port)
        listener.listen()
        assert is_listened_on(host, port)
    assert not is_listened_on(host, port)
