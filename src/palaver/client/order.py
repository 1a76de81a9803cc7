"""One chat's messages in the order of their seqs, each once. Sans-I/O."""

from dataclasses import dataclass, field

from palaver.contracts.frames import Message

# More held messages than this are let go and resumed later: a hole must not cost memory without end.
MOST_HELD = 1_000


@dataclass(slots=True)
class ChatOrder:
    """What is known of one chat.

    `cursor`: the last seq given out. `newest_seq`: the last one known. `held`: what lies behind a hole and
    waits until it is filled; None is a message that this socket sent itself, which is no event.
    """

    cursor: int
    newest_seq: int = 0
    held: dict[int, Message | None] = field(default_factory=dict)

    def take(self, seq: int, message: Message | None) -> list[Message]:
        """The messages that may be given out now, in order. What was given out before is passed over."""
        self.note_seq(seq)
        if seq <= self.cursor:
            return []
        if seq == self.cursor + 1:
            self.cursor = seq
            given = [] if message is None else [message]
            return given + self._drain() if self.held else given
        if seq in self.held:
            self.held[seq] = newer_of(self.held[seq], message)
        elif message is None or len(self.held) < MOST_HELD:
            self.held[seq] = message
        return self._drain()

    def note_seq(self, seq: int) -> None:
        """Notes that there is a message with this seq."""
        self.newest_seq = max(self.newest_seq, seq)

    @property
    def is_behind(self) -> bool:
        """Whether a message is missing that is known to be there."""
        return self.cursor < self.newest_seq

    @property
    def hole(self) -> tuple[int, int]:
        """The seqs around the first hole: the last given out, and the next that is here."""
        return self.cursor, min(self.held, default=self.newest_seq + 1)

    def skip_hole(self) -> list[Message]:
        """Gives the hole up: the store has nothing there for this user. What may be given out now."""
        self.cursor = max(self.cursor, self.hole[1] - 1)
        return self._drain()

    def _drain(self) -> list[Message]:
        given = []
        while self.cursor + 1 in self.held:
            self.cursor += 1
            message = self.held.pop(self.cursor)
            if message is not None:
                given.append(message)
        return given


def newer_of(held: Message | None, message: Message | None) -> Message | None:
    """The newer state of one message. An own one that was edited meanwhile is an event after all."""
    if message is None or held is None:
        other = message or held
        return other if other is not None and changed_at(other) else None
    return message if changed_at(message) > changed_at(held) else held


def changed_at(message: Message) -> str:
    """When a message was last edited or deleted (RFC 3339, which sorts as text); empty: never."""
    return max(message.edited_at or "", message.deleted_at or "")
