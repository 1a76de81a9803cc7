"""The client's end of the v2 socket, sans-I/O: frames in, events and frames out. No clock, no socket.

Its driver connects, passes each frame and each cut in, and takes what there is after every call:
`take_events`, `take_outcomes`, `take_postponed`, `take_unknown_chats`, and `frames_to_send`.
"""

import logging
from collections.abc import Iterator, Mapping

from palaver.client.changes import DeliveredChanges
from palaver.client.order import ChatOrder, changed_at
from palaver.client.receipts import UnconfirmedReceipts
from palaver.contracts.errors import (
    CATALOGUE,
    CONFLICT,
    INTERNAL,
    NOT_FOUND,
    OVERLOADED,
    RATE_LIMITED,
    RESTARTING,
    UNAVAILABLE,
    PalaverError,
)
from palaver.contracts.frames import (
    ClientFrame,
    Error,
    Hello,
    Message,
    Presence,
    Receipt,
    Resume,
    Resumed,
    Send,
    SendTyping,
    Sent,
    ServerFrame,
    Typing,
)

Event = Message | Receipt | Typing | Presence | Error
Outcome = Sent | PalaverError

MOST_CURSORS = 1_000
# Live messages of one chat that wait until it is known where the user begins to read it.
MOST_UNPLACED = 1_000

RESUME_FAILURES = (UNAVAILABLE.code, OVERLOADED.code, INTERNAL.code)
# A send that is refused so may be taken a little later.
PASSING = (RATE_LIMITED, OVERLOADED, UNAVAILABLE, RESTARTING)

log = logging.getLogger("palaver.client")


class ClientProtocol:
    """What one socket has sent, seen and still waits for, across all its connections.

    `cursors`: chat id -> last seq seen. `find_chats`: whether the driver looks up where to begin with a chat
    that is not among them; otherwise it begins with the first message that comes.
    """

    def __init__(self, cursors: Mapping[str, int], *, find_chats: bool = True) -> None:
        self._chats = {chat_id: ChatOrder(seq, seq) for chat_id, seq in cursors.items()}
        self._find_chats = find_chats
        self._unplaced: dict[str, list[tuple[int, Message | None]]] = {}
        self._unacked: dict[str, Send] = {}
        self._unsent: dict[str, None] = {}
        self._receipts = UnconfirmedReceipts()
        self._typing: dict[str, None] = {}
        self._wanted: dict[str, None] = {}
        self._resuming: dict[str, tuple[int, int]] = {}
        self._resume_failed = False
        self._changes = DeliveredChanges()
        self._events: list[Event] = []
        self._outcomes: list[tuple[str, Outcome]] = []
        self._postponed: list[tuple[str, PalaverError]] = []
        self._unknown: list[str] = []
        self.is_attached = False
        self.user_id = ""

    # ---- for the driver ----

    @property
    def cursors(self) -> dict[str, int]:
        """Chat id -> the last seq that was given out, or that this socket sent itself."""
        return {chat_id: order.cursor for chat_id, order in self._chats.items()}

    def knows_chat(self, chat_id: str) -> bool:
        """Whether it is known where the chat begins for this socket."""
        return chat_id in self._chats

    @property
    def unacked(self) -> int:
        """Sends that have no outcome yet."""
        return len(self._unacked)

    @property
    def is_caught_up(self) -> bool:
        """Whether everything that was missed has been delivered."""
        return self.is_attached and not self._resuming and not self._wanted and not self._unplaced

    def take_events(self) -> list[Event]:
        """What happened, in the order in which to deliver it."""
        events, self._events = self._events, []
        return events

    def take_outcomes(self) -> list[tuple[str, Outcome]]:
        """Client ids of sends that are over, with what came of each."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def take_postponed(self) -> list[tuple[str, PalaverError]]:
        """Client ids of sends that were refused for now: call `send_again` after a pause."""
        postponed, self._postponed = self._postponed, []
        return postponed

    def take_unknown_chats(self) -> list[str]:
        """Chats for which `start_chat` is to be called."""
        unknown, self._unknown = self._unknown, []
        return unknown

    def frames_to_send(self) -> Iterator[ClientFrame]:
        """What is to be written now, in this order. What a cut takes away is given again, but for typing."""
        if not self.is_attached:
            return
        if self._wanted and not self._resuming:
            yield self._next_resume()
        yield from self._receipts.take_unsent()
        while self._typing:
            yield SendTyping(self._typing.popitem()[0])
        while self._unsent:
            client_id = next(iter(self._unsent))
            del self._unsent[client_id]
            yield self._unacked[client_id]

    # ---- what the user does ----

    def send(self, chat_id: str, client_id: str, text: str) -> None:
        """Sends a message, again after each cut, until it has an outcome.

        Raises `conflict` where a send with this client id has none yet.
        """
        if client_id in self._unacked:
            raise PalaverError(CONFLICT, "a send with this client id waits for its answer", field="client_id")
        self._unacked[client_id] = Send(chat_id, client_id, text)
        self._unsent[client_id] = None

    def send_again(self, client_id: str) -> None:
        """Tries a postponed send again, where it has no outcome yet."""
        if client_id in self._unacked:
            self._unsent[client_id] = None

    def give_up(self, client_id: str) -> None:
        """Drops a send that nobody waits for. Where it was stored all the same, it comes as a message."""
        self._unacked.pop(client_id, None)
        self._unsent.pop(client_id, None)

    def give_up_longest(self, error: PalaverError) -> None:
        """The server found a frame too large: the longest send was it, and fails."""
        if self._unacked:
            longest = max(self._unacked, key=lambda client_id: len(self._unacked[client_id].text))
            self.give_up(longest)
            self._outcomes.append((longest, error))

    def set_receipt(self, chat_id: str, received_seq: int, read_seq: int) -> None:
        """Sends how far the user has received and read a chat; seqs that are behind change nothing."""
        self._receipts.add(chat_id, received_seq, read_seq)

    def send_typing(self, chat_id: str) -> None:
        """Sends that the user is typing, unless cut off: later it would be wrong."""
        if self.is_attached:
            self._typing[chat_id] = None

    def start_chat(self, chat_id: str, after_seq: int) -> None:
        """The user has seen a chat up to `after_seq`. Does nothing where that is known."""
        waiting = self._unplaced.pop(chat_id, [])
        if chat_id in self._chats:
            return
        new = [seq for seq, message in waiting if message is None or not changed_at(message)]
        order = self._chats[chat_id] = ChatOrder(after := min([after_seq, *(seq - 1 for seq in new)]), after)
        for seq, message in waiting:
            self._place(order, chat_id, seq, message)
        self._wanted[chat_id] = None

    # ---- what the connection does ----

    def connection_lost(self) -> None:
        """The connection was cut. Everything goes on with the next `hello`."""
        self.is_attached = False
        self._resuming.clear()
        self._typing.clear()
        self._resume_failed = False

    def receive_frame(self, frame: ServerFrame) -> None:
        """Takes one frame. Raises `unavailable` where the connection is of no use: cut it and come back."""
        match frame:
            case Message():
                self._receive_message(frame)
            case Sent():
                self._receive_sent(frame)
            case Hello():
                self._receive_hello(frame)
            case Resumed():
                self._receive_resumed()
            case Error():
                self._receive_error(frame)
            case Receipt():
                if frame.user_id == self.user_id:
                    self._receipts.confirm(frame)
                self._events.append(frame)
            case Typing() | Presence():
                self._events.append(frame)

    def _receive_hello(self, hello: Hello) -> None:
        self.is_attached = True
        self.user_id = hello.user_id
        self._wanted = dict.fromkeys(self._chats)
        self._unsent = dict.fromkeys(self._unacked)
        self._receipts.resend_all()

    def _receive_message(self, message: Message) -> None:
        sent = self._unacked.get(message.client_id)
        if sent is None or (sent.chat_id, self.user_id) != (message.chat_id, message.sender_id):
            self._take(message.chat_id, message.seq, message)
            return
        # An own send whose acknowledgement a cut took away comes back with what was missed
        self.give_up(message.client_id)
        ack = Sent(message.client_id, message.chat_id, message.seq, message.id, message.created_at)
        self._outcomes.append((message.client_id, ack))
        self._take(message.chat_id, message.seq, message if changed_at(message) else None)

    def _receive_sent(self, sent: Sent) -> None:
        if sent.client_id in self._unacked:
            self.give_up(sent.client_id)
            self._outcomes.append((sent.client_id, sent))
            self._take(sent.chat_id, sent.seq, None)
            return
        order = self._chats.get(sent.chat_id)
        if order is not None and sent.seq > order.cursor and sent.seq not in order.held:
            # Given up, and stored all the same: the user learns of it as of any other message
            order.note_seq(sent.seq)
            self._wanted[sent.chat_id] = None

    def _receive_error(self, error: Error) -> None:
        if error.client_id:
            self._receive_refusal(error.client_id, error_of(error))
            return
        if self._resuming and error.field == "cursors":
            raise PalaverError(UNAVAILABLE, f"the resume was refused: {error.message}")
        if error.chat_id in self._resuming and error.code == NOT_FOUND.code:
            # Not the user's chat any more
            del self._resuming[error.chat_id]
            del self._chats[error.chat_id]
            self._wanted.pop(error.chat_id, None)
        elif self._resuming and not error.chat_id and error.code in RESUME_FAILURES:
            # A `resumed` follows, which must not be believed
            self._resume_failed = True
            return
        self._events.append(error)

    def _receive_refusal(self, client_id: str, error: PalaverError) -> None:
        if client_id not in self._unacked:
            return
        if error.kind in PASSING:
            # Not given up meanwhile: an earlier try may have been stored, and comes with what was missed then
            self._postponed.append((client_id, error))
            return
        self.give_up(client_id)
        self._outcomes.append((client_id, error))

    def _receive_resumed(self) -> None:
        if self._resume_failed:
            raise PalaverError(UNAVAILABLE, "the server could not deliver all that was missed")
        resumed, self._resuming = self._resuming, {}
        for chat_id, hole in resumed.items():
            order = self._chats[chat_id]
            if not order.is_behind:
                continue
            if order.hole == hole:
                log.warning("seqs %d to %d of chat %s are not there", hole[0] + 1, hole[1] - 1, chat_id)
                self._deliver(order.skip_hole())
            if order.is_behind:
                self._wanted[chat_id] = None

    def _next_resume(self) -> Resume:
        chat_ids = list(self._wanted)[:MOST_CURSORS]
        for chat_id in chat_ids:
            del self._wanted[chat_id]
        self._resuming = {chat_id: self._chats[chat_id].hole for chat_id in chat_ids}
        return Resume({chat_id: self._chats[chat_id].cursor for chat_id in chat_ids})

    # ---- order ----

    def _take(self, chat_id: str, seq: int, message: Message | None) -> None:
        """Takes one message of a chat; None: this socket's own."""
        order = self._chats.get(chat_id)
        if order is None and chat_id not in self._unplaced and not self._must_find(seq, message):
            if message is not None and changed_at(message):
                self._deliver_change(message)
                return
            order = self._chats[chat_id] = ChatOrder(seq - 1, seq - 1)
        if order is None:
            waiting = self._unplaced.setdefault(chat_id, [])
            if not waiting:
                self._unknown.append(chat_id)
            if len(waiting) < MOST_UNPLACED:
                waiting.append((seq, message))
            return
        self._place(order, chat_id, seq, message)

    def _must_find(self, seq: int, message: Message | None) -> bool:
        """Whether it takes a look-up to know where an unknown chat begins. The change of a first message
        does not show it; the message itself does."""
        is_first = seq == 1 and not (message is not None and changed_at(message))
        return self._find_chats and not is_first

    def _place(self, order: ChatOrder, chat_id: str, seq: int, message: Message | None) -> None:
        if seq <= order.cursor:
            if message is not None:
                self._deliver_change(message)
            return
        self._deliver(order.take(seq, message))
        if order.is_behind and chat_id not in self._resuming:
            self._wanted[chat_id] = None

    def _deliver(self, messages: list[Message]) -> None:
        for message in messages:
            self._changes.note(message)
            self._events.append(message)

    def _deliver_change(self, message: Message) -> None:
        if self._changes.is_new(message):
            self._deliver([message])


def error_of(error: Error) -> PalaverError:
    """The refusal in a frame."""
    kind = CATALOGUE.get(error.code, INTERNAL)
    return PalaverError(kind, error.message, field=error.field, retry_after=error.retry_after)
