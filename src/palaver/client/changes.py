"""Which edits and deletions were delivered, to deliver each once. Sans-I/O."""

from collections import OrderedDict

from palaver.client.order import changed_at
from palaver.contracts.frames import Message

# So many messages' newest changes are remembered; an older one that comes once more is delivered twice.
MOST_CHANGES = 10_000


class DeliveredChanges:
    """The newest change of each message that was delivered."""

    def __init__(self) -> None:
        self._delivered: OrderedDict[tuple[str, int], str] = OrderedDict()

    def is_new(self, message: Message) -> bool:
        """Whether a message has changed since it was last delivered."""
        return changed_at(message) > self._delivered.get((message.chat_id, message.seq), "")

    def note(self, message: Message) -> None:
        """Notes that the message is delivered as it is now."""
        if not (at := changed_at(message)):
            return
        key = (message.chat_id, message.seq)
        self._delivered[key] = at
        self._delivered.move_to_end(key)
        if len(self._delivered) > MOST_CHANGES:
            self._delivered.popitem(last=False)
