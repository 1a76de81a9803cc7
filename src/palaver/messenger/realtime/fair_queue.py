"""A queue that is fair between senders: nobody fills a batch while others wait."""

from collections import OrderedDict, deque

from palaver.messenger.pending_send import PendingSend


class FairQueue:
    """Sends by sender, each sender's in the order of their arrival.

    `take` goes around the senders. While others wait, a sender gets no more than `share` of a batch (but
    always one request, since a request is never split).
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._senders: OrderedDict[bytes, deque[PendingSend]] = OrderedDict()
        self.messages = 0

    def has(self, sender_id: bytes) -> bool:
        """Whether the sender has something waiting."""
        return sender_id in self._senders

    def put(self, send: PendingSend) -> None:
        """Adds a send behind its sender's others."""
        waiting = self._senders.get(send.sender_id)
        if waiting is None:
            waiting = self._senders[send.sender_id] = deque()
        waiting.append(send)
        self.messages += len(send.texts)

    def take(self, most: int) -> list[PendingSend]:
        """About `most` messages, longest-waiting sender first; the last request may go beyond it."""
        taken: list[PendingSend] = []
        room = most
        senders = self._senders
        for _ in range(len(senders)):
            sender_id, waiting = next(iter(senders.items()))
            allowed = room if len(senders) == 1 else min(room, max(1, int(most * self._share)))
            room -= self._take_from(waiting, allowed, taken)
            if waiting:
                senders.move_to_end(sender_id)
            else:
                del senders[sender_id]
            if room <= 0:
                break
        return taken

    def _take_from(self, waiting: deque[PendingSend], allowed: int, taken: list[PendingSend]) -> int:
        used = 0
        while waiting:
            size = len(waiting[0].texts)
            if used and used + size > allowed:
                break
            taken.append(waiting.popleft())
            used += size
        self.messages -= used
        return used
