"""What every presence promises: who has a socket, by what all replicas say."""

from collections.abc import Callable

import pytest

from palaver.contracts.ids import new_id
from palaver.messenger.realtime.presence import (
    LIFETIME_SECONDS,
    REFRESH_SECONDS,
    InProcessPresence,
    Presence,
)

ALICE, BOB, CAROL = new_id(), new_id(), new_id()
ONE, TWO = new_id(), new_id()


class Clock:
    """Time as the test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


ADAPTERS: list[Callable[[Clock], Presence]] = [InProcessPresence]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture(params=ADAPTERS, ids=["in-process"])
def presence(request: pytest.FixtureRequest, clock: Clock) -> Presence:
    """A presence of which nobody knows anything yet."""
    adapter: Callable[[Clock], Presence] = request.param
    return adapter(clock)


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
    await presence.leave(ONE, ALICE)
    assert await presence.present([ALICE]) == {ALICE}
    await presence.leave(TWO, ALICE)
    assert await presence.present([ALICE]) == set()


async def test_leaving_twice_or_uninvited_harms_nobody(presence: Presence) -> None:
    """One replica's late word would make somebody offline who is there."""
    await presence.enter(ONE, [ALICE])
    await presence.leave(TWO, ALICE)
    await presence.leave(TWO, BOB)
    assert await presence.present([ALICE, BOB]) == {ALICE}
    await presence.leave(ONE, ALICE)
    await presence.leave(ONE, ALICE)
    await presence.enter(ONE, [ALICE])
    assert await presence.present([ALICE]) == {ALICE}


async def test_entries_end_with_their_time_to_live(presence: Presence, clock: Clock) -> None:
    """Users of a replica that was killed would be online for ever."""
    await presence.enter(ONE, [ALICE])
    clock.now += LIFETIME_SECONDS - 0.1
    assert await presence.present([ALICE]) == {ALICE}
    clock.now += 0.1
    assert await presence.present([ALICE]) == set()
    await presence.leave(ONE, ALICE)


async def test_entries_that_are_renewed_live_on(presence: Presence, clock: Clock) -> None:
    """Everybody would go offline half a minute after they came."""
    for _ in range(10):
        await presence.enter(ONE, [ALICE])
        clock.now += 2 * REFRESH_SECONDS
        assert await presence.present([ALICE]) == {ALICE}


async def test_one_replicas_end_is_not_anothers(presence: Presence, clock: Clock) -> None:
    """A killed replica would take users offline who are connected to another one."""
    await presence.enter(ONE, [ALICE, BOB])
    clock.now += LIFETIME_SECONDS - 1
    await presence.enter(TWO, [ALICE])
    clock.now += 1
    assert await presence.present([ALICE, BOB]) == {ALICE}
