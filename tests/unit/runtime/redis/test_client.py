"""Commands to a Redis that may be away."""

import contextlib

import pytest
from pydantic import SecretStr

from palaver.runtime.redis.client import RedisAwayError, RedisClient
from palaver.runtime.redis.opening import open_redis
from palaver.runtime.redis.url import redis_address
from palaver.runtime.startup import StartError
from tests.harness.nginx import free_port
from tests.harness.redis import PASSWORD, RedisServer, redis_client
from tests.harness.waiting import eventually


async def test_a_wrong_password_is_a_line_that_names_the_setting(redis_server: RedisServer) -> None:
    """A service would start, and never share anything."""
    url = SecretStr(redis_server.url.replace(PASSWORD, "another-one"))
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(StartError, match=r"^setting auth\.redis_url: Redis refuses") as error:
            await open_redis(url, "auth.redis_url", stack)
    assert "another-one" not in str(error.value)


async def test_without_a_setting_there_is_no_client() -> None:
    """Whoever runs one machine would need a Redis."""
    async with contextlib.AsyncExitStack() as stack:
        assert await open_redis(SecretStr(""), "auth.redis_url", stack) is None


async def test_one_that_is_away_stops_no_start_and_no_caller() -> None:
    """Without Redis no service could be started, or each call would wait for it."""
    client = RedisClient(redis_address(f"redis://127.0.0.1:{free_port()}", "redis_url"))
    await client.open("redis_url")
    assert not client.is_up
    assert not await client.is_usable()
    with pytest.raises(RedisAwayError):
        await client.run(lambda pipeline: pipeline.ping())
    await client.close()


async def test_killed_connections_are_made_anew(redis_server: RedisServer) -> None:
    """An idle connection that a firewall forgot would count as a Redis that is away."""
    async with redis_client(redis_server) as client:
        for _ in range(3):
            redis_server.kill_connections()
            await eventually(client.is_usable, "an answer")
        assert await client.run(lambda pipeline: pipeline.ping()) == [True]
