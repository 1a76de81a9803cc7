"""How often an address, and a user, may come to the door. What a user does behind it the messenger and auth
count."""

import asyncio
from dataclasses import dataclass

from palaver.contracts.errors import RATE_LIMITED, PalaverError
from palaver.runtime.addresses import address_key
from palaver.runtime.rate_limits import Key, RateLimiter


@dataclass(frozen=True, slots=True)
class GatewayRates:
    """Budgets of the gateway. `requests`: of an address, sockets included. `sockets`: opened by a user, each
    of which is announced to their companions."""

    requests: RateLimiter
    sockets: RateLimiter

    def count_request(self, address: str) -> None:
        """One request of an address. Raises `rate_limited`."""
        spend(self.requests, address_key(address), "too many requests from this address")

    def count_socket(self, user_id: bytes) -> None:
        """One more socket of a user. Raises `rate_limited`."""
        spend(self.sockets, user_id, "too many new sockets")

    async def start(self) -> None:
        """Starts all."""
        await self.requests.start()
        await self.sockets.start()

    async def stop(self) -> None:
        """Stops all."""
        await self.requests.stop()
        await self.sockets.stop()


def spend(limiter: RateLimiter, key: Key, refusal: str) -> None:
    """Takes one from a budget. Raises `rate_limited`."""
    wait = limiter.take(key, asyncio.get_running_loop().time())
    if wait > 0:
        raise PalaverError(RATE_LIMITED, refusal, retry_after=wait)
