"""What a campaign counts: what was acked and delivered, against what the history says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from tests.campaign.writers import Writer


@dataclass
class Counts:
    """`acked` sends, and how many of them the history has at their seq (`found`). All else is a fault, but
    `refused`: a send that got no answer in time, and is not acked."""

    acked: int = 0
    found: int = 0
    doubled: int = 0
    missing: int = 0
    moved: int = 0
    holes: int = 0
    out_of_order: int = 0
    never_delivered: int = 0
    delivered_twice: int = 0
    refused: int = 0

    @property
    def faults(self) -> int:
        """What broke a promise."""
        broken = (self.doubled, self.missing, self.moved, self.holes)
        return sum(broken) + self.out_of_order + self.never_delivered + self.delivered_twice

    def add(self, other: "Counts") -> None:
        """Adds those of another run."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def rows(self) -> list[tuple[str, int]]:
        """Each count with its name."""
        return [(one.name.replace("_", " "), getattr(self, one.name)) for one in fields(self)]

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.rows())


async def count_all(writers: Sequence[Writer]) -> Counts:
    """Reads the history of each pair of writers, and compares it with what both of them remember."""
    counts = Counts()
    for one, other in zip(writers[::2], writers[1::2], strict=True):
        history = [message async for message in one.client.all_messages(one.chat_id)]
        counts.holes += sum(message.seq != number for number, message in enumerate(history, 1))
        by_client_id = Counter(message.client_id for message in history)
        counts.doubled += sum(times - 1 for times in by_client_id.values())
        places = {message.client_id: (message.seq, message.id, message.text) for message in history}
        for writer, reader in ((one, other), (other, one)):
            count_acked(writer, places, counts)
            theirs = {m.seq for m in history if m.sender_id == writer.client.user_id}
            count_delivered(reader, theirs, counts)
    return counts


def count_acked(writer: Writer, places: dict[str, tuple[int, str, str]], counts: Counts) -> None:
    """Counts what was acknowledged to a writer."""
    counts.acked += len(writer.acked)
    counts.refused += len(writer.refused)
    for client_id, sent in writer.acked.items():
        if client_id not in places:
            counts.missing += 1
        elif places[client_id] != (sent.seq, sent.id, client_id):
            counts.moved += 1
        else:
            counts.found += 1


def count_delivered(reader: Writer, expected: set[int], counts: Counts) -> None:
    """Counts what the other one's socket delivered of `expected`, the seqs of the writer's messages."""
    seqs = [message.seq for message in reader.seen]
    seen = Counter(seqs)
    counts.delivered_twice += sum(times - 1 for times in seen.values())
    counts.out_of_order += sum(later < earlier for earlier, later in pairwise(seqs))
    counts.never_delivered += len(expected - set(seen))
