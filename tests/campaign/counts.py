"""What a campaign counts: what was acked and delivered, against what the history says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from tests.campaign.watchers import Watcher
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
    for pair in zip(writers[::2], writers[1::2], strict=True):
        await count_chat(pair, (), counts)
    return counts


async def count_chat(writers: Sequence[Writer], watchers: Sequence[Watcher], counts: Counts) -> None:
    """Reads the history of a chat, and compares it with what all of its members remember."""
    one = writers[0]
    history = [message async for message in one.client.all_messages(one.chat_id)]
    counts.holes += sum(message.seq != number for number, message in enumerate(history, 1))
    by_client_id = Counter(message.client_id for message in history)
    counts.doubled += sum(times - 1 for times in by_client_id.values())
    places = {message.client_id: (message.seq, message.id, message.text) for message in history}
    for member in writers:
        count_acked(member, places, counts)
        count_delivered(member, {m.seq for m in history if m.sender_id != member.client.user_id}, counts)
    for watcher in watchers:
        count_told(watcher, [message.id for message in history], counts)


async def count_repeats(writer: Writer, client_ids: Sequence[str], counts: Counts) -> None:
    """Sends acknowledged messages once more: each has its place already."""
    for client_id in client_ids:
        [again] = await writer.client.send(writer.chat_id, client_id, client_ids=[client_id])
        sent = writer.acked[client_id]
        counts.moved += (again.seq, again.id) != (sent.seq, sent.id)


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


def count_told(watcher: Watcher, ids: list[str], counts: Counts) -> None:
    """Counts what a watcher's connections told of the messages with these ids, in the order of the chat."""
    counts.delivered_twice += watcher.twice
    counts.out_of_order += watcher.out_of_order
    counts.out_of_order += sum(told != stored for told, stored in zip(watcher.told, ids, strict=False))
    counts.never_delivered += max(0, len(ids) - len(watcher.told))
    counts.missing += max(0, len(watcher.told) - len(ids))
