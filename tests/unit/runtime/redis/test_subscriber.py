"""Subscriptions that survive their connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from palaver.runtime.background import running
from palaver.runtime.redis import subscriber as module
from palaver.runtime.redis.subscriber import Subscriber
from tests.harness.redis import RedisServer, redis_client
from tests.harness.waiting import eventually

MANY = [b"channel-%d" % number for number in range(5_000)]


class Receiver:
    """What a subscriber receives, and how often it was whole."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.times_whole = 0

    def receive(self, channel: bytes, content: bytes) -> None:
        """A message."""
        self.messages.append((channel, content))

    def become_whole(self) -> None:
        """From now on messages arrive."""
        self.times_whole += 1


@contextlib.asynccontextmanager
async def subscribing(server: RedisServer) -> AsyncIterator[tuple[Subscriber, Receiver]]:
    """A subscriber of one channel, which is whole."""
    receiver = Receiver()
    async with redis_client(server) as client:
        subscriber = Subscriber(client, receiver.receive, receiver.become_whole)
        await subscriber.subscribe([b"first"])
        async with running(subscriber.run()):
            await eventually(lambda: subscriber.is_whole, "whole")
            yield subscriber, receiver


async def test_very_many_channels_are_subscribed_to_in_parts(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One replica with many users would hold up Redis for all others, or be cut off for its answers."""
    sizes = []
    send = module.send

    async def noted(connection: object, *words: bytes) -> None:
        sizes.append(len(words) - 1)
        await send(connection, *words)  # type: ignore[arg-type] # as it came

    monkeypatch.setattr(module, "send", noted)
    async with subscribing(redis_server) as (subscriber, receiver):
        await asyncio.gather(*(subscriber.subscribe([channel]) for channel in MANY))
        assert redis_server.command("PUBSUB", "NUMSUB", MANY[0], MANY[-1]) == [MANY[0], 1, MANY[-1], 1]
        assert max(sizes) <= module.CHANNELS_AT_ONCE
        assert len(sizes) < 30
        redis_server.kill_connections()
        await eventually(lambda: receiver.times_whole == 2, "whole again")
        redis_server.command("PUBLISH", MANY[-1], "a")
        await eventually(lambda: receiver.messages == [(MANY[-1], b"a")], "received")


async def test_each_loss_is_followed_by_being_whole_once(redis_server: RedisServer) -> None:
    """What was missed meanwhile would never be looked for."""
    async with subscribing(redis_server) as (subscriber, receiver):
        for times in range(2, 5):
            redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda times=times: receiver.times_whole == times, "whole again")
        await subscriber.subscribe([b"second"])
        redis_server.command("PUBLISH", "second", "a")
        await eventually(lambda: receiver.messages == [(b"second", b"a")], "received")


async def test_one_that_is_not_whole_makes_nobody_wait(redis_server: RedisServer) -> None:
    """No socket could be opened while Redis is away."""
    receiver = Receiver()
    async with redis_client(redis_server) as client:
        subscriber = Subscriber(client, receiver.receive, receiver.become_whole)
        await subscriber.subscribe([b"first", b"second"])
        subscriber.unsubscribe([b"second"])
        await subscriber.until_whole(0.01)
        assert not subscriber.is_whole


async def test_what_is_wanted_again_stays(redis_server: RedisServer) -> None:
    """Somebody who comes back at once would miss what is sent in that moment."""
    async with subscribing(redis_server) as (subscriber, receiver):
        for _ in range(20):
            wanted = asyncio.create_task(subscriber.subscribe([b"second"]))
            await asyncio.sleep(0)
            subscriber.unsubscribe([b"second"])
            await subscriber.subscribe([b"second"])
            await wanted
        redis_server.command("PUBLISH", "second", "a")
        await eventually(lambda: receiver.messages == [(b"second", b"a")], "received")
