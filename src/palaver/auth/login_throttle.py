"""How many wrong passwords an account and an address may send."""

import asyncio
import contextlib
import ipaddress
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass

from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.rate_limits import TokenBuckets
from palaver.runtime.settings import AuthSettings

MINUTE = 60.0
MOST_WAITING = 1_000


Place = tuple[TokenBuckets, Hashable]


@dataclass
class Guess:
    """One sign-in on trial. It costs only what is found to be wrong."""

    wrong: bool = False


class LoginThrottle:
    """Budgets of wrong passwords, per account and per address.

    A guess takes its place in both budgets before its password is hashed, and gives it back if it was right
    or was never looked at. So guesses sent at once cannot overdraw a budget. One that finds a budget empty
    only because of guesses on trial waits for those: right passwords sent at once are not refused.
    """

    def __init__(self, settings: AuthSettings, clock: Callable[[], float]) -> None:
        account, address = settings.wrong_passwords_per_account, settings.wrong_passwords_per_address
        self._accounts = TokenBuckets(account / MINUTE, account)
        self._addresses = TokenBuckets(address / MINUTE, address)
        self._clock = clock
        self._on_trial: Counter[Hashable] = Counter()
        self._ended = asyncio.Event()
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def guess(self, account: str, address: str) -> AsyncIterator[Guess]:
        """A guess on trial during the block, which says if it was `wrong`.

        Raises `rate_limited` and `overloaded`.
        """
        # The words keep an address that is no IP address apart from an account of the same text
        places = (
            (self._accounts, ("account", account)),
            (self._addresses, ("address", address_key(address))),
        )
        while (refused := self._take(places)) is not None:
            await self._wait_for_another(*refused)
        guess = Guess()
        try:
            yield guess
        finally:
            self._end(places, guess)

    def _take(self, places: Sequence[Place]) -> tuple[Hashable, float] | None:
        """None, or the key whose budget is empty and the seconds until it is not."""
        now = self._clock()
        for budget, key in places:
            wait = budget.peek(key, now)
            if wait > 0:
                return key, wait
        for budget, key in places:
            budget.take(key, now)
            self._on_trial[key] += 1
        return None

    def _end(self, places: Sequence[Place], guess: Guess) -> None:
        for budget, key in places:
            if not guess.wrong:
                budget.give_back(key)
            self._on_trial[key] -= 1
            if not self._on_trial[key]:
                del self._on_trial[key]
        self._ended.set()
        self._ended = asyncio.Event()

    async def _wait_for_another(self, key: Hashable, wait: float) -> None:
        if not self._on_trial[key]:
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


def address_key(address: str) -> Hashable:
    """Whom an address is counted for: a household has a whole /64 of IPv6 (RFC 6177)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        return ipaddress.IPv6Network((found, 64), strict=False)
    return found
