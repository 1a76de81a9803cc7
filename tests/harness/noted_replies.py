"""Replies to sends that note what they are called with."""

from palaver.messenger.pending_send import PendingSend, StoredKey, stored_keys


class NotedReply:
    """Notes where a send was stored, or why it was not. `number`: which of a test's sends it answers."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.stored: list[StoredKey] = []
        self.errors: list[Exception] = []

    def store(self, send: PendingSend) -> None:
        """See `Reply.store`."""
        self.stored = stored_keys(send)

    def refuse(self, error: Exception) -> None:
        """See `Reply.refuse`."""
        self.errors.append(error)
