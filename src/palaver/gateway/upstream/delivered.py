"""What the gateway has passed on lately, to know what is new when the messenger tells again."""

# The messenger tells again what was committed this long before the newest word heard of it: commits and
# queues take time. Microseconds.
MARGIN_US = 10_000_000
# What was passed on is remembered for longer than that. Microseconds.
REMEMBER_US = 30_000_000


class Delivered:
    """Which messages were passed on lately: chat id -> last seq, forgotten after a while."""

    def __init__(self) -> None:
        self._new: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._since = 0

    def note(self, chat_id: bytes, seq: int) -> None:
        """A message was passed on."""
        self._new[chat_id] = seq

    def last_seq(self, chat_id: bytes) -> int:
        """The last seq passed on, or 0 where it is not remembered."""
        return self._new.get(chat_id) or self._old.get(chat_id, 0)

    def pass_time(self, clock: int) -> None:
        """Forgets what is older than `REMEMBER_US` by the messenger's clock, which stands still while the
        messenger is away: what may be told again is remembered for as long as that."""
        if clock - self._since > REMEMBER_US:
            self._old, self._new, self._since = self._new, {}, clock
