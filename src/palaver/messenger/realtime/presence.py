"""Which users have an open socket, on whichever replica."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

# A replica that enters nothing for so long is gone, and its users with it
LIFETIME_SECONDS = 30.0
REFRESH_SECONDS = LIFETIME_SECONDS / 3


class Presence(Protocol):
    """What all replicas know together. What a replica enters lives for `LIFETIME_SECONDS`, unless it is
    entered again."""

    async def enter(self, replica: bytes, user_ids: Iterable[bytes]) -> None:
        """The replica has sockets of all these users, or still has them."""
        ...

    async def leave(self, replica: bytes, user_ids: Iterable[bytes]) -> None:
        """The replica has no socket of these users any more."""
        ...

    async def present(self, user_ids: Iterable[bytes]) -> set[bytes]:
        """Those of the users who have a socket on any replica; and those of whom that cannot be known now."""
        ...

    async def returned(self) -> None:
        """Waits until it is known again who is present, after it was not."""
        ...


class InProcessPresence:
    """The presence of replicas of one process. `clock`: seconds of any clock that only goes forward."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # user id -> replica -> when the entry ends
        self._ends: dict[bytes, dict[bytes, float]] = {}

    async def enter(self, replica: bytes, user_ids: Iterable[bytes]) -> None:
        """See `Presence.enter`."""
        end = self._clock() + LIFETIME_SECONDS
        for user_id in user_ids:
            self._ends.setdefault(user_id, {})[replica] = end

    async def leave(self, replica: bytes, user_ids: Iterable[bytes]) -> None:
        """See `Presence.leave`."""
        for user_id in user_ids:
            ends = self._ends.get(user_id, {})
            ends.pop(replica, None)
            if not ends:
                self._ends.pop(user_id, None)

    async def present(self, user_ids: Iterable[bytes]) -> set[bytes]:
        """See `Presence.present`."""
        now = self._clock()
        return {
            user_id for user_id in user_ids if any(end > now for end in self._ends.get(user_id, {}).values())
        }

    async def returned(self) -> None:
        """See `Presence.returned`. It is always known."""
        await asyncio.Event().wait()
