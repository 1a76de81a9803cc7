"""All open sockets: what is written to them."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.contracts.errors import ErrorKind
from palaver.contracts.ids import new_id
from palaver.gateway.generations.v2.socket import CodecV2
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.socket import Socket
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.tokens import Claims, sign_token

SETTINGS = GatewaySettings()


class Connection:
    """The TCP connection: keeps what is written. `fails`: the next write does."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.fails = False

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def write(self, frames: bytes) -> None:
        """See `asyncio.Transport`."""
        if self.fails:
            self.fails = False
            raise OSError("not foreseen")
        self.written.append(frames)

    def get_write_buffer_size(self) -> int:
        """Everything is read at once."""
        return 0


class Handler:
    """Adds sockets to the registry."""

    def __init__(self, registry: SocketRegistry) -> None:
        self.handle_open = registry.add
        self.handle_close = registry.remove


def connect(registry: SocketRegistry, token: str = "") -> tuple[Socket, Connection]:
    """An open socket and its connection."""
    handler: Any = Handler(registry)
    socket = registry.create(handler, CodecV2(SETTINGS), token, Claims(new_id(), new_id(), 0, 0))
    connection: Any = Connection()
    socket.websocket.tcp = connection
    socket.handle_open()
    return socket, connection


def test_frames_of_a_batch_leave_in_one_write() -> None:
    """Each message would cost a system call of its own, or come in another order."""
    registry = SocketRegistry(SETTINGS)
    (first, one), (second, other) = connect(registry), connect(registry)
    first.write(b"a")
    second.write(b"x")
    first.write(b"b")
    registry.flush()
    registry.flush()
    assert (one.written, other.written) == ([b"ab"], [b"x"])


def test_a_write_that_fails_silences_nobody_else() -> None:
    """One connection that breaks in an odd way would leave others without a message until they reconnect."""
    registry = SocketRegistry(SETTINGS)
    (first, one), (second, other) = connect(registry), connect(registry)
    one.fails = True
    first.write(b"a")
    second.write(b"x")
    with pytest.raises(OSError, match="not foreseen"):
        registry.flush()
    first.write(b"b")
    second.write(b"y")
    registry.flush()
    assert (one.written, other.written) == ([b"b"], [b"xy"])


async def test_sockets_of_a_revoked_key_are_closed_and_no_others() -> None:
    """Whoever forged a token would go on listening after its key was revoked; or all would be cut off."""
    registry = SocketRegistry(SETTINGS)
    claims = Claims(new_id(), new_id(), 0, 60)
    forged, good = (sign_token(claims, Ed25519PrivateKey.generate(), kid) for kid in ("old", "new"))
    (first, _), (second, _), (spared, _) = (connect(registry, token) for token in (forged, forged, good))
    for socket in (first, second, spared):
        socket.websocket = Closing()  # type: ignore[assignment] # its close is what counts
    registry.close_key("old")
    assert [socket.websocket.closed_with for socket in (first, second, spared)] == [4001, 4001, 0]  # type: ignore[attr-defined] # see above


class Closing:
    """Keeps the code of its close."""

    closed_with = 0

    def close(self, kind: ErrorKind) -> None:
        """See `WebSocket.close`."""
        self.closed_with = kind.close

    def abort(self) -> None:
        """It is gone."""
