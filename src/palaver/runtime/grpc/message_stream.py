"""A bidirectional stream of messages, as both ends see it, whatever carries it."""

from typing import Any, Protocol


class StreamReceiver(Protocol):
    """What takes a stream's messages."""

    def receive(self, message: Any) -> None:
        """Takes a message, in the turn of the event loop in which it arrived. What this raises ends the
        stream."""
        ...

    def resume_writing(self) -> None:
        """The stream is writable again."""
        ...


class MessageStream(Protocol):
    """One end of a stream."""

    @property
    def is_writable(self) -> bool:
        """Whether the peer takes more now. Where it does not, `resume_writing` follows; whoever writes
        regardless fills the memory."""
        ...

    def write(self, message: Any) -> None:
        """Sends a message, or nothing where the stream has ended."""
        ...

    def receive_with(self, receiver: StreamReceiver) -> None:
        """Begins to read."""
        ...

    def pause_reading(self) -> None:
        """Gives the receiver no message until `resume_reading`; the peer is soon slowed down."""
        ...

    def resume_reading(self) -> None:
        """Gives the receiver what came meanwhile, then what comes."""
        ...

    def finish(self, error: Exception | None = None) -> None:
        """Reads no more: `ended` returns, or raises `error`. What is written still leaves."""
        ...

    def cancel(self) -> None:
        """Gives the stream up, with all that waits to be sent."""
        ...

    async def ended(self) -> None:
        """Waits until the peer has ended the stream. Raises what broke it."""
        ...
