"""How often one user may do what reaches others."""

import asyncio
from dataclasses import dataclass

from palaver.contracts.errors import RATE_LIMITED, PalaverError
from palaver.runtime.rate_limits import RateLimiter


@dataclass(frozen=True, slots=True)
class UserRates:
    """One budget of each user for each kind of action.

    `messages`: sent. `changes`: messages edited or deleted, members removed. `chats`: opened. `members`:
    users put into groups, each of whom is informed. `receipts`, `typings`: moved and shown at once.
    """

    messages: RateLimiter
    changes: RateLimiter
    chats: RateLimiter
    members: RateLimiter
    receipts: RateLimiter
    typings: RateLimiter

    async def start(self) -> None:
        """Starts all."""
        for limiter in self._all():
            await limiter.start()

    async def stop(self) -> None:
        """Stops all."""
        for limiter in self._all():
            await limiter.stop()

    def _all(self) -> tuple[RateLimiter, ...]:
        return (self.messages, self.changes, self.chats, self.members, self.receipts, self.typings)


def spend(limiter: RateLimiter, user_id: bytes, what: str, amount: float = 1) -> None:
    """Takes from a user's budget. Raises `rate_limited`, naming `what` there is too much of."""
    wait = limiter.take(user_id, asyncio.get_running_loop().time(), amount)
    if wait > 0:
        raise PalaverError(RATE_LIMITED, f"too many {what}", retry_after=wait)
