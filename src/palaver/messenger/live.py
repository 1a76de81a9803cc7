"""What the use cases need of the messenger's live part: the committer, the sockets and the bus."""

from collections.abc import Sequence
from typing import Protocol

from palaver.messenger.domain import Message, Receipt


class Live(Protocol):
    """Sends, tells and knows who is there."""

    async def send(
        self,
        chat_id: bytes,
        sender_id: bytes,
        client_ids: Sequence[bytes],
        texts: Sequence[str],
        *,
        retry: bool,
        trace_id: str = "",
    ) -> list[Message]:
        """The messages as stored, after they are on disk; a client id that was used before gives the
        message that has it. Members' sockets are told. All are stored, next to each other, or none.

        Raises `not_found` where the sender is no member, `rate_limited`, `overloaded`, `invalid`.
        """
        ...

    async def set_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> Receipt:
        """The member's receipt as stored, after it is on disk. Seqs that are behind do nothing, seqs beyond
        the chat's end are brought back to it. Members' sockets are told where it moved.

        Raises `not_found` where the user is no member.
        """
        ...

    def imply_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> None:
        """The same for an old client, which says no receipts: some time soon, and lost in a crash."""
        ...

    def tell_changed(self, message: Message) -> None:
        """Tells members' sockets that a message was edited or deleted."""
        ...

    def forget_chat(self, chat_id: bytes) -> None:
        """Members or title changed: every replica reads them anew before it next needs them."""
        ...

    def is_online(self, user_id: bytes) -> bool:
        """Whether the user has an open socket."""
        ...
