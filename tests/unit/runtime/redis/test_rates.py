"""Rates that several replicas share."""

import time
from collections.abc import Callable

import pytest

from palaver.runtime.redis import rates as module
from palaver.runtime.redis.client import RedisAwayError, RedisClient
from palaver.runtime.redis.rates import RedisRates
from palaver.runtime.redis.url import redis_address
from tests.harness.nginx import free_port
from tests.harness.redis import RedisServer, redis_client


def take_all(rates: RedisRates) -> int:
    """How many of a key are granted at once."""
    granted = 0
    while rates.take("a", time.monotonic()) == 0:
        granted += 1
    return granted


async def test_what_one_replica_granted_is_missing_at_the_other(redis_server: RedisServer) -> None:
    """A user of several gateways would have the rate of each of them."""
    async with redis_client(redis_server) as client:
        one, two = (RedisRates(client, "sends", 0.001, 10, time.monotonic) for _ in range(2))
        assert take_all(one) == 10
        await one.share()
        assert two.take("a", time.monotonic()) == 0
        await two.share()
        # It did not know better, and pays for it
        assert two.peek("a", time.monotonic()) > 1_500
        await one.share()
        assert take_all(one) == take_all(two) == 0


async def test_what_was_given_back_can_be_taken_anywhere(redis_server: RedisServer) -> None:
    """Right passwords would count as wrong ones at other replicas."""
    async with redis_client(redis_server) as client:
        one, two = (RedisRates(client, "passwords", 0.001, 10, time.monotonic) for _ in range(2))
        for _ in range(10):
            one.take("a", time.monotonic())
        await one.share()
        for _ in range(10):
            one.give_back("a")
        await one.share()
        assert take_all(two) == 10
        await two.share()
        assert two.peek("a", time.monotonic()) > 0


async def test_very_many_keys_are_shared_in_a_few_calls(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message would cost a call, or a busy replica would hold up Redis for all others."""
    calls = []
    run = RedisClient.run

    async def noted(self: RedisClient, fill: Callable[..., object], *, atomic: bool = True) -> list[object]:
        calls.append(fill)
        return await run(self, fill, atomic=atomic)

    async with redis_client(redis_server) as client:
        monkeypatch.setattr(RedisClient, "run", noted)
        rates = RedisRates(client, "sends", 1, 10, time.monotonic)
        for number in range(2_000):
            rates.take(b"%d" % number, time.monotonic(), 3)
        await rates.share()
        await rates.share()
    assert len(calls) == 2_000 / module.KEYS_AT_ONCE


async def test_a_replica_without_redis_counts_by_itself() -> None:
    """Nobody could send while Redis is away; or everybody as much as they like."""
    client = RedisClient(redis_address(f"redis://127.0.0.1:{free_port()}", "redis_url"))
    rates = RedisRates(client, "sends", 0.001, 10, time.monotonic)
    assert take_all(rates) == 10
    with pytest.raises(RedisAwayError):
        await rates.share()
    assert take_all(rates) == 0
    await client.close()


async def test_what_was_taken_while_redis_was_away_is_shared_afterwards(redis_server: RedisServer) -> None:
    """Whoever uses up one replica's rate meanwhile would have those of the others too."""
    async with redis_client(redis_server) as client:
        one, two = (RedisRates(client, "sends", 0.001, 10, time.monotonic) for _ in range(2))
        take_all(one)
        client._failures, client._next_attempt = 1, float("inf")
        with pytest.raises(RedisAwayError):
            await one.share()
        client._failures = 0
        await one.share()
        two.take("a", time.monotonic())
        await two.share()
        assert take_all(two) == 0
