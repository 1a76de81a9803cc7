"""Whether a socket is to be told a message now: each once, and in order, also while it resumes."""

from palaver.contracts.times import now_us
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.registry import Socket

# A message that is older than this comes live no more, not even after a broken stream. Microseconds.
LIVE_US = 60_000_000


def is_due(socket: Socket, told: OutboundMessages, *, resumed: bool = False) -> bool:
    """Whether a socket is to be told now. Moves the cursor of a resume under way, where it is.

    Until the messenger has heard of a resume it goes on to tell live messages. Those behind a hole are left
    out, because the resume tells them after what fills the hole; and what the resume tells again of those
    without one is left out then. So each comes once, and in order, from the moment the client asked.
    """
    if told.changed:
        return True
    if resumed and told.created_at > now_us() - LIVE_US:
        socket.ahead = socket.ahead or {}
        socket.ahead[told.chat_id] = told.first_seq
    elif not resumed and socket.ahead is not None and is_behind(socket.ahead, told):
        return False
    cursors = socket.resuming
    if cursors is None or (cursor := cursors.get(told.chat_id)) is None:
        return True
    if told.first_seq <= cursor or (told.first_seq > cursor + 1 and not resumed):
        return False
    cursors[told.chat_id] = told.first_seq + len(told.ids) - 1
    return True


def is_behind(ahead: dict[bytes, int], told: OutboundMessages) -> bool:
    """Whether a resume has told a live message before. The messenger knows, but not on its next stream."""
    seq = ahead.get(told.chat_id)
    if seq is None:
        return False
    if told.first_seq <= seq:
        return True
    # What comes live has come beyond it
    del ahead[told.chat_id]
    return False
