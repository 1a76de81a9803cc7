"""What the archiver has followed and not archived yet. Sans-I/O.

A chat waits until all of it that was followed is archived; a change until the segment has it. The position up
to which everything is archived moves on behind the oldest of them.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from palaver.messenger.store.messages import Place

Vector = Mapping[int, int]


class Wanted(NamedTuple):
    """Up to which seq a chat is to be archived, and the oldest step that asked for it. `messages`: how many
    messages that are, as far as is known."""

    until: int
    step: int
    messages: int


class Backlog:
    """Chats by the shard on which `place` puts them, and changed messages."""

    def __init__(self, place: Callable[[bytes], int]) -> None:
        self._place = place
        self._chats: dict[int, dict[bytes, Wanted]] = {}
        self._changes: dict[Place, int] = {}
        self._open: Counter[int] = Counter()
        self._steps: deque[tuple[int, Vector]] = deque()
        self._step = 0

    def __len__(self) -> int:
        return len(self._changes) + sum(map(len, self._chats.values()))

    def want(self, chat_id: bytes, until: int, count: int) -> None:
        """A chat has messages up to `until`, of which `count` are new."""
        self._add(chat_id, Wanted(until, self._step, count))
        self._open[self._step] += 1

    def change(self, place: Place) -> None:
        """A message was changed."""
        if place not in self._changes:
            self._changes[place] = self._step
            self._open[self._step] += 1

    def end_step(self, vector: Vector) -> None:
        """All that was followed up to `vector` has been added."""
        self._steps.append((self._step, vector))
        self._step += 1

    def finished(self) -> Vector | None:
        """The vector up to which everything is archived; None: none since the last call."""
        found = None
        while self._steps and not self._open[self._steps[0][0]]:
            step, found = self._steps.popleft()
            del self._open[step]
        return found

    @property
    def steps(self) -> int:
        """How many steps of following are not archived yet."""
        return len(self._steps)

    def shards(self) -> list[int]:
        """The shards for which chats wait."""
        return [shard for shard, chats in self._chats.items() if chats]

    def take(self, shard: int, most: int) -> dict[bytes, Wanted]:
        """Chats of a shard with about `most` messages, the longest waiting first. `done` or `give_back` must
        follow."""
        chats = self._chats.get(shard, {})
        taken: dict[bytes, Wanted] = {}
        room = most
        for chat_id, wanted in chats.items():
            if room <= 0:
                break
            taken[chat_id] = wanted
            room -= max(1, wanted.messages)
        for chat_id in taken:
            del chats[chat_id]
        return taken

    def done(self, wanted: Wanted) -> None:
        """A chat that was taken is archived up to what was wanted."""
        self._open[wanted.step] -= 1

    def give_back(self, chat_id: bytes, wanted: Wanted) -> None:
        """A chat that was taken is not archived, or not all of it: nothing behind it may pass it."""
        self._add(chat_id, wanted)

    def place_anew(self) -> None:
        """Places all chats anew: the shards have changed."""
        waiting = [item for chats in self._chats.values() for item in chats.items()]
        self._chats = {}
        for chat_id, wanted in waiting:
            self._add(chat_id, wanted)

    def forget(self, shard: int) -> None:
        """Forgets the chats of a shard, which are too many, but for one that shows when the shard is back. No
        position moves on until `begin_anew`."""
        chats = self._chats.get(shard, {})
        self._chats[shard] = dict(islice(chats.items(), 1))

    def begin_anew(self) -> None:
        """All that is not archived is about to be added again, also what was forgotten."""
        self._steps.clear()
        self._step += 1
        self._open = Counter({self._step: len(self)})
        for chats in self._chats.values():
            chats.update({chat_id: one._replace(step=self._step) for chat_id, one in chats.items()})
        self._changes = dict.fromkeys(self._changes, self._step)

    def changes(self, most: int) -> list[Place]:
        """Changed messages that wait; those that come first now come last the next time."""
        places = list(islice(self._changes, most))
        for place in places:
            self._changes[place] = self._changes.pop(place)
        return places

    def changes_done(self, places: Iterable[Place]) -> None:
        """The archive has these changes, or needs not have them."""
        for place in places:
            step = self._changes.pop(place, None)
            if step is not None:
                self._open[step] -= 1

    def _add(self, chat_id: bytes, wanted: Wanted) -> None:
        chats = self._chats.setdefault(self._place(chat_id), {})
        known = chats.get(chat_id)
        if known is not None:
            # One entry for both, at the place in the line of the first; the younger step waits for no more
            self._open[max(known.step, wanted.step)] -= 1
            wanted = Wanted(
                max(known.until, wanted.until),
                min(known.step, wanted.step),
                known.messages + wanted.messages,
            )
        chats[chat_id] = wanted
