"""How many wrong passwords an account and an address may send."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.addresses import address_key
from palaver.runtime.rate_limits import RateLimiter

MOST_WAITING = 1_000

# A budget, and whose it is
Charge = tuple[RateLimiter, str]


@dataclass
class Attempt:
    """One sign-in whose password is not checked yet. It costs only what turns out to be wrong."""

    wrong: bool = False


class LoginThrottle:
    """Budgets of wrong passwords, per account and per address.

    An attempt is charged to both budgets before its password is hashed, and gets its charge back if it was
    right or was never checked. So attempts sent at once cannot overdraw a budget. One that finds a budget
    empty only because of pending attempts waits for those: right passwords sent at once are not refused.
    """

    def __init__(self, accounts: RateLimiter, addresses: RateLimiter, clock: Callable[[], float]) -> None:
        self._accounts = accounts
        self._addresses = addresses
        self._clock = clock
        self._pending: Counter[str] = Counter()
        self._ended = asyncio.Event()
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def attempt(self, account: str, address: str) -> AsyncIterator[Attempt]:
        """A pending attempt during the block, which sets `wrong`.

        Raises `rate_limited` and `overloaded`.
        """
        # The words keep an address that is no IP address apart from an account of the same text
        charges = (
            (self._accounts, f"account {account}"),
            (self._addresses, f"address {address_key(address)}"),
        )
        while (refused := self._take(charges)) is not None:
            await self._wait_for_another(*refused)
        attempt = Attempt()
        try:
            yield attempt
        finally:
            self._end(charges, attempt)

    def _take(self, charges: Sequence[Charge]) -> tuple[str, float] | None:
        """None, or the key whose budget is empty and the seconds until it is not."""
        now = self._clock()
        for budget, key in charges:
            wait = budget.peek(key, now)
            if wait > 0:
                return key, wait
        for budget, key in charges:
            budget.take(key, now)
            self._pending[key] += 1
        return None

    def _end(self, charges: Sequence[Charge], attempt: Attempt) -> None:
        for budget, key in charges:
            if not attempt.wrong:
                budget.give_back(key)
            self._pending[key] -= 1
            if not self._pending[key]:
                del self._pending[key]
        self._ended.set()
        self._ended = asyncio.Event()

    async def _wait_for_another(self, key: str, wait: float) -> None:
        if not self._pending[key]:
            raise PalaverError(RATE_LIMITED, "too many wrong passwords", retry_after=readable_wait(wait))
        if self._waiting >= MOST_WAITING:
            raise PalaverError(OVERLOADED, "too many sign-ins at once", retry_after=1.0)
        self._waiting += 1
        try:
            await self._ended.wait()
        finally:
            self._waiting -= 1


def readable_wait(wait: float) -> float:
    """Seconds in whole milliseconds, rounded up: who comes back then is not refused again."""
    return math.ceil(wait * 1000) / 1000
