"""What every presence promises: who has a socket, by what all replicas say."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio

from palaver.contracts.ids import new_id
from palaver.messenger.realtime.presence import (
    LIFETIME_SECONDS,
    REFRESH_SECONDS,
    InProcessPresence,
    Presence,
)
from palaver.messenger.realtime.redis.presence import RedisPresence
from tests.harness.redis import RedisServer, redis_client

ALICE, BOB, CAROL = new_id(), new_id(), new_id()
ONE, TWO = new_id(), new_id()


class TimedPresence:
    """A presence, and a way to let time pass for it."""

    def __init__(self, presence: Presence, advance: Callable[[float], None]) -> None:
        self.presence = presence
        self.advance = advance


MakePresence = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[TimedPresence]]


@contextlib.asynccontextmanager
async def in_process(_: pytest.FixtureRequest) -> AsyncIterator[TimedPresence]:
    """Of replicas of one process."""
    now = 100.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    yield TimedPresence(InProcessPresence(lambda: now), advance)


@contextlib.asynccontextmanager
async def in_redis(request: pytest.FixtureRequest) -> AsyncIterator[TimedPresence]:
    """Of replicas anywhere. All that has a time to live has less of it when time passes."""
    server: RedisServer = request.getfixturevalue("redis_server")

    def advance(seconds: float) -> None:
        for key in server.command("KEYS", "*"):
            left = server.command("PTTL", key)
            if left >= 0:
                server.command("PEXPIRE", key, left - int(seconds * 1_000))

    async with redis_client(server) as client:
        yield TimedPresence(RedisPresence(client, settle_seconds=0), advance)


ADAPTERS: dict[str, MakePresence] = {"in-process": in_process, "redis": in_redis}


@pytest_asyncio.fixture(params=ADAPTERS)
async def timed(request: pytest.FixtureRequest) -> AsyncIterator[TimedPresence]:
    """A presence of which nobody knows anything yet."""
    async with ADAPTERS[request.param](request) as timed:
        yield timed


@pytest.fixture
def presence(timed: TimedPresence) -> Presence:
    """The presence itself."""
    return timed.presence


async def test_who_was_entered_is_present(presence: Presence) -> None:
    """Nobody would be shown as online, or strangers would."""
    assert await presence.present([ALICE, BOB]) == set()
    await presence.enter(ONE, [ALICE, BOB])
    await presence.enter(ONE, [])
    assert await presence.present([ALICE, CAROL]) == {ALICE}
    assert await presence.present([]) == set()


async def test_who_left_one_replica_is_present_by_another(presence: Presence) -> None:
    """Somebody with two devices would go offline with one of them."""
    for replica in (ONE, TWO):
        await presence.enter(replica, [ALICE])
    await presence.leave(ONE, [ALICE])
    assert await presence.present([ALICE]) == {ALICE}
    await presence.leave(TWO, [ALICE])
    assert await presence.present([ALICE]) == set()


async def test_leaving_twice_or_uninvited_harms_nobody(presence: Presence) -> None:
    """One replica's late word would make somebody offline who is there."""
    await presence.enter(ONE, [ALICE])
    await presence.leave(TWO, [ALICE])
    await presence.leave(TWO, [BOB])
    assert await presence.present([ALICE, BOB]) == {ALICE}
    await presence.leave(ONE, [ALICE])
    await presence.leave(ONE, [ALICE])
    await presence.enter(ONE, [ALICE])
    assert await presence.present([ALICE]) == {ALICE}


async def test_entries_end_with_their_time_to_live(timed: TimedPresence) -> None:
    """Users of a replica that was killed would be online for ever."""
    presence = timed.presence
    await presence.enter(ONE, [ALICE])
    timed.advance(LIFETIME_SECONDS - 5)
    assert await presence.present([ALICE]) == {ALICE}
    timed.advance(5)
    assert await presence.present([ALICE]) == set()
    await presence.leave(ONE, [ALICE])


async def test_entries_that_are_renewed_live_on(timed: TimedPresence) -> None:
    """Everybody would go offline half a minute after they came."""
    presence = timed.presence
    for _ in range(10):
        await presence.enter(ONE, [ALICE])
        timed.advance(2 * REFRESH_SECONDS)
        assert await presence.present([ALICE]) == {ALICE}


async def test_one_replicas_end_is_not_anothers(timed: TimedPresence) -> None:
    """A killed replica would take users offline who are connected to another one."""
    presence = timed.presence
    await presence.enter(ONE, [ALICE, BOB])
    timed.advance(LIFETIME_SECONDS - 5)
    await presence.enter(TWO, [ALICE])
    timed.advance(5)
    assert await presence.present([ALICE, BOB]) == {ALICE}


async def test_very_many_users_are_present(presence: Presence) -> None:
    """Half of a large company would be shown as offline."""
    many = [new_id() for _ in range(2_500)]
    await presence.enter(ONE, many[:2_400])
    await presence.enter(TWO, many[1_200:2_400])
    await presence.leave(ONE, many[:2_000])
    assert await presence.present(many) == set(many[1_200:2_400])
