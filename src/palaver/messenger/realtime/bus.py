"""The bus: what one messenger replica tells the others. A hint, never the truth: the journal is that."""

from collections.abc import Callable
from typing import Protocol

import msgspec


class NewMessages(msgspec.Struct, tag="new", frozen=True):
    """Messages were committed to a chat."""

    chat_id: bytes
    first_seq: int
    last_seq: int
    members_version: int


class MessageChanged(msgspec.Struct, tag="changed", frozen=True):
    """A message was edited or deleted."""

    chat_id: bytes
    seq: int


class ReceiptMoved(msgspec.Struct, tag="receipt", frozen=True):
    """A member's receipt moved."""

    chat_id: bytes
    user_id: bytes
    received_seq: int
    read_seq: int


class Typed(msgspec.Struct, tag="typed", frozen=True):
    """A member is typing."""

    chat_id: bytes
    user_id: bytes


class CameOrWent(msgspec.Struct, tag="presence", frozen=True):
    """A user's first socket opened, or the last one closed."""

    user_id: bytes
    online: bool
    last_seen_at: int
    companions: list[bytes]


class ChatChanged(msgspec.Struct, tag="chat", frozen=True):
    """A chat's members changed: read them anew."""

    chat_id: bytes


Signal = NewMessages | MessageChanged | ReceiptMoved | Typed | CameOrWent | ChatChanged
Hear = Callable[[Signal], None]


class Bus(Protocol):
    """Carries signals between replicas, in order from each of them, and may lose some."""

    @property
    def alone(self) -> bool:
        """Whether nobody else listens, so that nothing need be said."""
        ...

    def join(self, hear: Hear) -> None:
        """Begins to hear what others say."""
        ...

    def leave(self, hear: Hear) -> None:
        """Stops to hear."""
        ...

    def say(self, signal: Signal, speaker: Hear) -> None:
        """Tells all but the speaker."""
        ...


class InProcessBus:
    """The bus between replicas of one process; of one replica alone, as a rule."""

    def __init__(self) -> None:
        self._listeners: list[Hear] = []

    @property
    def alone(self) -> bool:
        """See `Bus.alone`."""
        return len(self._listeners) < 2

    def join(self, hear: Hear) -> None:
        """See `Bus.join`."""
        self._listeners.append(hear)

    def leave(self, hear: Hear) -> None:
        """See `Bus.leave`."""
        self._listeners.remove(hear)

    def say(self, signal: Signal, speaker: Hear) -> None:
        """See `Bus.say`."""
        for hear in self._listeners:
            if hear != speaker:
                hear(signal)
