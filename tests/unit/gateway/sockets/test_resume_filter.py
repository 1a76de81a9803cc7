"""Which messages a socket gets while it resumes, and after."""

from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import Delivery
from palaver.gateway.generations.v2.socket import CodecV2
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.resume_filter import MOST_AHEAD, advance
from palaver.gateway.sockets.socket import Socket
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.tokens import Claims

CHAT, OTHER = new_id(), new_id()
SETTINGS = GatewaySettings()


def open_socket() -> Socket:
    """A socket that does nothing."""
    claims = Claims(new_id(), new_id(), 0, 0)
    return SocketRegistry(SETTINGS).create(None, CodecV2(SETTINGS), "", claims)  # type: ignore[arg-type] # nothing happens to it


def message(
    seq: int, chat_id: bytes = CHAT, *, created_at: int = 1, changed: bool = False
) -> OutboundMessages:
    """A message of a chat."""
    fields = {"first_seq": seq, "created_at": created_at, "changed": changed}
    return OutboundMessages(Delivery(chat_id=chat_id, ids=[new_id()], texts=["a"], **fields), None)


def got(socket: Socket, *seqs: int, resumed: bool = False) -> list[int]:
    """Which of the messages the socket gets."""
    return [seq for seq in seqs if advance(socket, message(seq), resumed=resumed)]


def test_without_a_resume_everything_is_delivered() -> None:
    """Nobody would get anything; or a calm socket would fill the memory."""
    socket = open_socket()
    assert got(socket, 5, 6, 7) == [5, 6, 7]
    assert socket.ahead is None


def test_a_resume_delivers_what_fills_the_hole_before_what_lies_behind_it() -> None:
    """Messages would stand in the wrong order, or come twice."""
    socket = open_socket()
    socket.resuming = {CHAT: 2}
    assert got(socket, 3, 5) == [3]
    assert got(socket, 3, 4, 5, resumed=True) == [4, 5]
    assert advance(socket, message(9, OTHER))


def test_what_a_resume_has_delivered_is_not_delivered_again_however_old_it_looks() -> None:
    """A stream that breaks just after a resume would bring its messages twice, where a clock was wrong."""
    socket = open_socket()
    socket.resuming = {CHAT: 2}
    assert got(socket, 3, 4, resumed=True) == [3, 4]
    socket.resuming = None
    assert got(socket, 3, 4, 5, 6) == [5, 6]


def test_a_change_is_always_delivered() -> None:
    """An edit of a message that a resume has just brought would be lost."""
    socket = open_socket()
    socket.resuming = {CHAT: 2}
    assert got(socket, 3, 4, resumed=True) == [3, 4]
    assert advance(socket, message(3, changed=True))


def test_what_is_remembered_of_a_resume_goes_when_its_chats_go_on() -> None:
    """Each socket that has resumed once would cost memory for the rest of its life."""
    socket = open_socket()
    assert got(socket, 3, resumed=True) == [3]
    assert advance(socket, message(8, OTHER), resumed=True)
    assert socket.ahead == {CHAT: 3, OTHER: 8}
    assert got(socket, 4) == [4]
    assert socket.ahead == {OTHER: 8}
    assert advance(socket, message(9, OTHER))
    assert socket.ahead is None


def test_what_is_remembered_of_resumes_is_bounded_and_the_latest() -> None:
    """Clients that resume a thousand chats would fill the gateway's memory (promise P9)."""
    socket = open_socket()
    chats = [new_id() for _ in range(MOST_AHEAD + 10)]
    for chat_id in chats:
        assert advance(socket, message(1, chat_id), resumed=True)
    # The resume comes to its oldest chat once more
    assert advance(socket, message(2, chats[10]), resumed=True)
    assert advance(socket, message(1, chats[0]), resumed=True)
    assert list(socket.ahead or ()) == [*chats[12:], chats[10], chats[0]]
