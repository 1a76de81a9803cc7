"""Which replicas failed lately, and in which order to try them. Sans-I/O, without a clock of its own."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from palaver.runtime.backoff import pause_after
from palaver.runtime.replicas.addresses import Address

# A replica that failed is passed over for so long, and for longer the more often it failed in a row
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 10.0
# Of its own: a program that seeds Python's would choose alike in all its processes
_random = random.Random()  # noqa: S311 - no secret


@dataclass(slots=True)
class Failure:
    """Failures of one replica in a row. Times are of any clock that only goes forward."""

    count: int
    failed_at: float
    rests_until: float


class Failures:
    """The failures of replicas. `draw`: a random number of [0, 1)."""

    def __init__(self, draw: Callable[[], float] = _random.random) -> None:
        self._draw = draw
        self._failures: dict[Address, Failure] = {}

    def note_failure(self, address: Address, now: float) -> None:
        """A replica did not answer. Calls that were under way together fail together: that is one failure."""
        failure = self._failures.get(address)
        if failure is not None and now < failure.rests_until:
            return
        count = 1 if failure is None else failure.count + 1
        rest = pause_after(count, first=FIRST_REST_SECONDS, longest=LONGEST_REST_SECONDS)
        self._failures[address] = Failure(count, now, now + rest)

    def note_success(self, address: Address) -> None:
        """A replica answered."""
        self._failures.pop(address, None)

    def forget_all_but(self, addresses: Collection[Address]) -> None:
        """Other replicas are gone."""
        for address in self._failures.keys() - set(addresses):
            del self._failures[address]

    def is_resting(self, address: Address, now: float) -> bool:
        """Whether a replica is passed over."""
        failure = self._failures.get(address)
        return failure is not None and now < failure.rests_until

    def in_order(self, addresses: Collection[Address], now: float) -> list[Address]:
        """All of them, the one to try first at the front.

        Those that did not fail lately are in random order: callers that lost one replica spread over the
        others, and one that comes back gets its share of what is new. Behind them are those that rest, the
        least recently failed first, since with none left something must be tried.
        """
        fresh = [address for address in addresses if not self.is_resting(address, now)]
        resting = [address for address in addresses if self.is_resting(address, now)]
        fresh.sort(key=lambda _: self._draw())
        resting.sort(key=lambda address: self._failures[address].failed_at)
        return [*fresh, *resting]
