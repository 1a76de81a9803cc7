"""Which messages a socket gets while it resumes, and just after: each once, and in order."""

from palaver.contracts.times import now_us
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.socket import Socket

# A message that is older than this comes live no more, not even after a broken stream. Microseconds.
LIVE_US = 60_000_000


def advance(socket: Socket, messages: OutboundMessages, *, resumed: bool = False) -> bool:
    """Moves a socket's cursors over messages. Returns whether it gets them now.

    Until the messenger has received a resume it goes on to deliver live messages. Those behind a hole are
    left out, because the resume delivers them after what fills the hole; and what the resume delivers again
    of those without one is left out then. So each comes once, and in order, from the moment the client asked.
    """
    if messages.changed:
        return True
    if resumed and messages.created_at > now_us() - LIVE_US:
        socket.ahead = socket.ahead or {}
        socket.ahead[messages.chat_id] = messages.first_seq
    elif not resumed and socket.ahead is not None and is_behind(socket, messages):
        return False
    cursors = socket.resuming
    if cursors is None or (cursor := cursors.get(messages.chat_id)) is None:
        return True
    if messages.first_seq <= cursor or (messages.first_seq > cursor + 1 and not resumed):
        return False
    cursors[messages.chat_id] = messages.first_seq + len(messages.ids) - 1
    return True


def is_behind(socket: Socket, messages: OutboundMessages) -> bool:
    """Whether a resume has delivered a live message before."""
    ahead = socket.ahead
    if ahead is None or (seq := ahead.get(messages.chat_id)) is None:
        return False
    if messages.first_seq <= seq:
        return True
    # What comes live has come beyond it
    del ahead[messages.chat_id]
    if not ahead:
        socket.ahead = None
    return False
