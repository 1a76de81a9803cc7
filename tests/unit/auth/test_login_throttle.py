"""Budgets of wrong passwords."""

import asyncio

import pytest

from palaver.auth.devices import Familiarity, traits_of
from palaver.auth.domain import Client
from palaver.auth.login_throttle import Budgets, LoginThrottle
from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.rate_limits import TokenBuckets

ORIGIN, ADDRESS, ACCOUNT = 3, 5, 8
SLOW = 0.05


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> LoginThrottle:
    budgets = Budgets(*(TokenBuckets(each / 60, each) for each in (ORIGIN, ADDRESS, ACCOUNT, 1)))
    return LoginThrottle(budgets, clock, SLOW)


async def attempt(
    throttle: LoginThrottle,
    wrong: bool,
    account: str = "a@b.test",
    address: str = "192.0.2.1",
    familiarity: Familiarity = Familiarity.NOTHING,
) -> str:
    """What a sign-in ends with. The hash takes a turn of the loop."""
    try:
        async with throttle.attempt(account, Client(address, "an agent"), familiarity) as one:
            await asyncio.sleep(0)
            one.wrong = wrong
    except PalaverError as error:
        return error.kind.code
    return "wrong" if wrong else "right"


async def attack(throttle: LoginThrottle, guesses: int = ACCOUNT) -> None:
    """Wrong passwords for the account, each from an address of its own."""
    for number in range(guesses):
        assert await attempt(throttle, True, address=f"198.51.100.{number}") == "wrong"


async def test_failing_address_is_limited_at_that_account(throttle: LoginThrottle, clock: Clock) -> None:
    """Passwords could be guessed without end; or the right one would show that the others were wrong."""
    found = [await attempt(throttle, True) for _ in range(ORIGIN + 2)]
    assert found == ["wrong"] * ORIGIN + ["rate_limited"] * 2
    assert await attempt(throttle, False) == "rate_limited"
    assert await attempt(throttle, False, account="other@b.test") == "right"
    clock.now += 60 / ORIGIN
    assert await attempt(throttle, False) == "right"


async def test_stranger_does_not_keep_the_owner_out(throttle: LoginThrottle, clock: Clock) -> None:
    """Whoever knows an email could lock its owner out for as long as they like."""
    for number in range(30):
        clock.now += 0.6
        await attempt(throttle, True)
        before = asyncio.get_running_loop().time()
        assert await attempt(throttle, False, address=f"203.0.113.{number}") == "right"
        assert asyncio.get_running_loop().time() - before < SLOW


@pytest.mark.parametrize("familiarity", [Familiarity.DEVICE, Familiarity.ADDRESS])
async def test_known_device_is_not_slowed_by_an_attack(
    throttle: LoginThrottle, familiarity: Familiarity
) -> None:
    """During an attack from many machines its owner would wait at every sign-in."""
    await attack(throttle)
    before = asyncio.get_running_loop().time()
    assert await attempt(throttle, False, familiarity=familiarity) == "right"
    assert asyncio.get_running_loop().time() - before < SLOW


async def test_known_device_is_not_refused_for_its_neighbours(throttle: LoginThrottle) -> None:
    """One guesser in an office would keep everybody there out."""
    for number in range(ADDRESS + 1):
        await attempt(throttle, True, account=f"{number % 3}@b.test")
    assert await attempt(throttle, False, account="0@b.test") == "rate_limited"
    assert await attempt(throttle, False, account="0@b.test", familiarity=Familiarity.DEVICE) == "right"


async def test_known_device_has_a_budget_too(throttle: LoginThrottle) -> None:
    """A stolen laptop would be a place to guess from without end."""
    found = [await attempt(throttle, True, familiarity=Familiarity.DEVICE) for _ in range(ORIGIN + 1)]
    assert found == ["wrong"] * ORIGIN + ["rate_limited"]


async def test_attack_from_many_addresses_slows_and_does_not_lock(
    throttle: LoginThrottle, clock: Clock
) -> None:
    """A rented crowd of machines would guess at full speed, or keep the owner out of a new device."""
    await attack(throttle)
    before = asyncio.get_running_loop().time()
    assert await attempt(throttle, True, address="203.0.113.1") == "wrong"
    assert asyncio.get_running_loop().time() - before >= SLOW
    # A guesser has one try a minute there; the owner's right password is not counted
    assert await attempt(throttle, False, address="203.0.113.1") == "rate_limited"
    for _ in range(3):
        assert await attempt(throttle, False, address="203.0.113.2") == "right"
    assert await attempt(throttle, False, account="other@b.test", address="203.0.113.1") == "right"
    clock.now += 60
    assert await attempt(throttle, False, address="203.0.113.1") == "right"


async def test_slowed_sign_ins_are_bounded(throttle: LoginThrottle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack on one account would hold all connections to auth."""
    monkeypatch.setattr("palaver.auth.login_throttle.MOST_SLOWED_OF_ACCOUNT", 2)
    await attack(throttle)
    found = await asyncio.gather(*(attempt(throttle, True, address=f"203.0.113.{n}") for n in range(4)))
    assert sorted(found) == ["rate_limited"] * 2 + ["wrong"] * 2
    # Their places are free again, and who was refused was not charged
    assert await attempt(throttle, False, address="203.0.113.3") == "right"


async def test_address_has_its_budget(throttle: LoginThrottle) -> None:
    """One password could be tried on every account."""
    found = [await attempt(throttle, True, account=f"{number}@b.test") for number in range(ADDRESS + 2)]
    assert found == ["wrong"] * ADDRESS + ["rate_limited"] * 2
    assert await attempt(throttle, True, account="9@b.test", address="192.0.2.2") == "wrong"


async def test_right_passwords_cost_nothing(throttle: LoginThrottle) -> None:
    """A user with many devices, or a bot, would be locked out by signing in."""
    assert [await attempt(throttle, False) for _ in range(50)] == ["right"] * 50


async def test_attempts_at_once_cannot_overdraw(throttle: LoginThrottle) -> None:
    """Guesses sent at once would all be looked at before the first is found wrong."""
    found = await asyncio.gather(*(attempt(throttle, True) for _ in range(50)))
    assert sorted(found) == ["rate_limited"] * (50 - ORIGIN) + ["wrong"] * ORIGIN


async def test_right_passwords_at_once_are_not_refused(throttle: LoginThrottle) -> None:
    """All devices of a user that come back at once would be refused, though nobody sent a wrong password."""
    assert await asyncio.gather(*(attempt(throttle, False) for _ in range(50))) == ["right"] * 50


async def test_wait_is_named_and_holds(throttle: LoginThrottle, clock: Clock) -> None:
    """A client would come back too early, and be refused again."""
    for _ in range(ORIGIN):
        await attempt(throttle, True)
    with pytest.raises(PalaverError) as caught:
        async with throttle.attempt("a@b.test", Client("192.0.2.1", "")):
            pytest.fail("the budget is empty")
    assert caught.value.kind is RATE_LIMITED
    assert 0 < caught.value.retry_after <= 60 / ORIGIN
    clock.now += caught.value.retry_after
    assert await attempt(throttle, True) == "wrong"


async def test_attempt_that_was_not_checked_costs_nothing(throttle: LoginThrottle) -> None:
    """A busy server would lock its users out."""
    for _ in range(20):
        with pytest.raises(PalaverError, match="busy"):
            async with throttle.attempt("a@b.test", Client("192.0.2.1", "")):
                raise PalaverError(OVERLOADED)
    assert await attempt(throttle, False) == "right"


async def test_those_who_wait_are_bounded(throttle: LoginThrottle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of guesses would fill the memory."""
    monkeypatch.setattr("palaver.auth.login_throttle.MOST_WAITING", 2)
    found = await asyncio.gather(*(attempt(throttle, True) for _ in range(ORIGIN + 4)))
    assert sorted(found) == ["overloaded"] * 2 + ["rate_limited"] * 2 + ["wrong"] * ORIGIN


def test_devices_are_told_apart() -> None:
    """A stranger would pass for a device that the account knows; or the owner would not, at home."""
    known = traits_of(Client("2001:db8:1:2::1", "a browser"))
    assert traits_of(Client("2001:db8:1:2::9", "a browser")) == known
    other = traits_of(Client("2001:db8:1:2::1", "curl"))
    assert other[Familiarity.ADDRESS] == known[Familiarity.ADDRESS]
    assert other[Familiarity.DEVICE] != known[Familiarity.DEVICE]
    elsewhere = traits_of(Client("2001:db8:1:3::1", "a browser"))
    assert not set(elsewhere.values()) & set(known.values())
