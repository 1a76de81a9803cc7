"""One socket, without a network."""

from palaver.contracts.ids import new_id
from palaver.gateway.generations.v2.socket import CodecV2
from palaver.gateway.sockets.socket import TYPING_CHATS, Socket
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.tokens import Claims

SETTINGS = GatewaySettings()


def make_socket(to_flush: list[Socket]) -> Socket:
    """A socket that nothing happens to."""
    claims = Claims(new_id(), new_id(), 0, 0)
    return Socket(None, to_flush, CodecV2(SETTINGS), "", claims, 1, 1)  # type: ignore[arg-type] # no handler is called


def test_typing_in_many_chats_is_bounded() -> None:
    """One client could fill the gateway's memory with chats that it pretends to type in (promise P9)."""
    socket = make_socket([])
    assert [socket.may_type(new_id(), 10.0) for _ in range(TYPING_CHATS + 5)].count(True) == TYPING_CHATS
    assert socket.may_type(new_id(), 12.0)
    assert socket.typed_at is not None
    assert len(socket.typed_at) == 1


def test_a_socket_with_frames_is_flushed_once() -> None:
    """Each message of a batch would cost a system call of its own."""
    to_flush: list[Socket] = []
    socket = make_socket(to_flush)
    socket.write(b"")
    assert to_flush == []
    socket.write(b"one")
    socket.write(b"two")
    assert to_flush == [socket]
    assert socket.outgoing == [b"one", b"two"]
