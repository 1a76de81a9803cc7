"""How many wrong passwords an account and an address may send."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from palaver.auth.devices import Familiarity
from palaver.auth.domain import Client
from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.addresses import address_key
from palaver.runtime.rate_limits import RateLimiter

MOST_WAITING = 1_000
# What a stranger's sign-in to an account under attack takes longer
SLOW_SECONDS = 1.0
# Sign-ins that are slowed at once. Each holds one of the gateway's connections to auth, which are 500 at most
MOST_SLOWED = 100
MOST_SLOWED_OF_ACCOUNT = 30

# A budget, and whose it is
Charge = tuple[RateLimiter, str]


@dataclass(frozen=True, slots=True)
class Budgets:
    """What wrong passwords are charged to.

    `origins`: an account from one address, or from one known device. `addresses`: an address, whatever the
    account. `accounts`: an account, from all addresses that it does not know. `attacked`: an account whose
    budget is used up, from one address.
    """

    origins: RateLimiter
    addresses: RateLimiter
    accounts: RateLimiter
    attacked: RateLimiter


@dataclass
class Attempt:
    """One sign-in whose password is not checked yet. It costs only what turns out to be wrong."""

    wrong: bool = False


class LoginThrottle:
    """Budgets of wrong passwords.

    An attempt is charged before its password is hashed, and gets its charge back if it was right or was never
    checked. So attempts sent at once cannot overdraw a budget. One that finds a budget empty only because of
    pending attempts waits for those: right passwords sent at once are not refused.

    Nobody is refused for the failures of others elsewhere. A known device has a budget of its own. The budget
    of an account only slows strangers: beyond it they wait for `SLOW_SECONDS`, and each address has one wrong
    password a minute.
    """

    def __init__(
        self, budgets: Budgets, clock: Callable[[], float], slow_seconds: float = SLOW_SECONDS
    ) -> None:
        self._budgets = budgets
        self._clock = clock
        self._slow_seconds = slow_seconds
        self._pending: Counter[str] = Counter()
        self._slowed: Counter[str] = Counter()
        self._ended = asyncio.Event()
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def attempt(
        self, account: str, client: Client, familiarity: Familiarity = Familiarity.NOTHING
    ) -> AsyncIterator[Attempt]:
        """A pending attempt during the block, which sets `wrong`.

        Raises `rate_limited` and `overloaded`.
        """
        while True:
            is_slow = familiarity is Familiarity.NOTHING and self._is_attacked(account)
            charges = self._charges(account, client, familiarity, is_slow)
            refused = self._take(charges)
            if refused is None:
                break
            await self._wait_for_another(*refused)
        attempt = Attempt()
        try:
            if is_slow:
                await self._slow_down(account)
            yield attempt
        finally:
            self._end(charges, attempt)

    def _is_attacked(self, account: str) -> bool:
        return self._budgets.accounts.peek(account_key(account), self._clock()) > 0

    def _charges(
        self, account: str, client: Client, familiarity: Familiarity, is_slow: bool
    ) -> Sequence[Charge]:
        # The words keep an address that is no IP address apart from an account of the same text
        address = address_key(client.address)
        budgets = self._budgets
        if familiarity is Familiarity.DEVICE:
            return ((budgets.origins, f"device {address} {account} {client.agent}"),)
        charges = (
            (budgets.origins, f"origin {address} {account}"),
            (budgets.addresses, f"address {address}"),
        )
        if familiarity is Familiarity.ADDRESS:
            return charges
        if is_slow:
            return (*charges, (budgets.attacked, f"attacked {address} {account}"))
        return (*charges, (budgets.accounts, account_key(account)))

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

    async def _slow_down(self, account: str) -> None:
        if self._slowed.total() >= MOST_SLOWED or self._slowed[account] >= MOST_SLOWED_OF_ACCOUNT:
            raise PalaverError(
                RATE_LIMITED, "too many sign-ins to this account", retry_after=self._slow_seconds
            )
        self._slowed[account] += 1
        try:
            await asyncio.sleep(self._slow_seconds)
        finally:
            self._slowed[account] -= 1
            if not self._slowed[account]:
                del self._slowed[account]

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


def account_key(account: str) -> str:
    """The key of an account's own budget."""
    return f"account {account}"


def readable_wait(wait: float) -> float:
    """Seconds in whole milliseconds, rounded up: who comes back then is not refused again."""
    return math.ceil(wait * 1000) / 1000
