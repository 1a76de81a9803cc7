"""v1's status of a message. v2 has receipts of members instead, from which it follows."""

from collections.abc import Iterable
from typing import Literal

from palaver.contracts import messenger_pb2 as pb

Status = Literal["created", "received", "read", "deleted"]


class Statuses:
    """Derives statuses from the receipts of a `MessagePage`."""

    def __init__(self, receipts: Iterable[pb.Receipt]) -> None:
        self._receipts = list(receipts)
        self._least: dict[bytes, tuple[int, int]] = {}

    def status_of(self, seq: int, sender: bytes, deleted_at: int) -> Status:
        """A message's: `deleted`; else how far the last of all members but the sender has come."""
        if deleted_at:
            return "deleted"
        least = self._least.get(sender)
        if least is None:
            least = self._least[sender] = self._least_without(sender)
        received, read = least
        if read >= seq:
            return "read"
        return "received" if received >= seq else "created"

    def _least_without(self, sender: bytes) -> tuple[int, int]:
        others = [receipt for receipt in self._receipts if receipt.user_id != sender]
        if not others:
            return 0, 0
        return min(r.received_seq for r in others), min(r.read_seq for r in others)
