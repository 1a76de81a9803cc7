"""Which edits and deletions were told, to tell each once. Sans I/O."""

from collections import OrderedDict

from palaver.client.order import changed_at
from palaver.contracts.frames import Message

# So many messages' newest changes are remembered; an older one that comes once more is told twice.
MOST_CHANGES = 10_000


class ToldChanges:
    """The newest change that was told of each message."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, int], str] = OrderedDict()

    def is_new(self, message: Message) -> bool:
        """Whether a message that was told before has changed since then."""
        return changed_at(message) > self._told.get((message.chat_id, message.seq), "")

    def note(self, message: Message) -> None:
        """The message is told as it is now."""
        if not (at := changed_at(message)):
            return
        key = (message.chat_id, message.seq)
        self._told[key] = at
        self._told.move_to_end(key)
        if len(self._told) > MOST_CHANGES:
            self._told.popitem(last=False)
