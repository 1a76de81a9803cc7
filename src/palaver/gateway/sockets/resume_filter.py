"""Which messages a socket gets while it resumes, and just after: each once, and in order."""

from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.socket import Socket

# A socket remembers how far its resumes have come, in so many chats at most: the latest ones.
#
# What that guards: a resume may read a message from the journal before the message is delivered live. If the
# stream breaks between the two, and the gateway has not followed the log up to that commit, the next
# messenger delivers the message again, as one that was missed. (While the stream stands, the messenger itself
# leaves it out.)
# A gateway can't see when that is over: what a resume delivers carries no position, and a settled batch
# covers the positions of other deliveries alone. So an entry stays until a live message of its chat lies
# beyond it, and their count is bounded. What matters was read in the last moments before a break, hence the
# latest; 64 take about 8 KB of a socket that has just resumed, and nothing of one that has not.
MOST_AHEAD = 64


def advance(socket: Socket, messages: OutboundMessages, *, resumed: bool = False) -> bool:
    """Moves a socket's cursors over messages. Returns whether it gets them now.

    Until the messenger has received a resume it goes on to deliver live messages. Those behind a hole are
    left out, because the resume delivers them after what fills the hole; and what the resume delivers again
    of those without one is left out then. So each comes once, and in order, from the moment the client asked.
    """
    if messages.changed:
        return True
    if resumed:
        note_ahead(socket, messages.chat_id, messages.first_seq)
    elif socket.ahead is not None and is_behind(socket, messages):
        return False
    cursors = socket.resuming
    if cursors is None or (cursor := cursors.get(messages.chat_id)) is None:
        return True
    if messages.first_seq <= cursor or (messages.first_seq > cursor + 1 and not resumed):
        return False
    cursors[messages.chat_id] = messages.first_seq + len(messages.ids) - 1
    return True


def note_ahead(socket: Socket, chat_id: bytes, seq: int) -> None:
    """A resume has come to a seq, which may come live too."""
    ahead = socket.ahead
    if ahead is None:
        ahead = socket.ahead = {}
    elif ahead.pop(chat_id, None) is None and len(ahead) >= MOST_AHEAD:
        del ahead[next(iter(ahead))]
    # Behind all others: they are in the order in which the resumes came to them
    ahead[chat_id] = seq


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
