"""Budgets of wrong passwords."""

import asyncio

import pytest

from palaver.auth.login_throttle import LoginThrottle
from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.rate_limits import TokenBuckets

ACCOUNT, ADDRESS = 3, 5


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
    return LoginThrottle(TokenBuckets(ACCOUNT / 60, ACCOUNT), TokenBuckets(ADDRESS / 60, ADDRESS), clock)


async def attempt(
    throttle: LoginThrottle, wrong: bool, account: str = "a@b.test", address: str = "192.0.2.1"
) -> str:
    """What a sign-in ends with. The hash takes a turn of the loop."""
    try:
        async with throttle.attempt(account, address) as one:
            await asyncio.sleep(0)
            one.wrong = wrong
    except PalaverError as error:
        return error.kind.code
    return "wrong" if wrong else "right"


async def test_account_has_its_budget(throttle: LoginThrottle, clock: Clock) -> None:
    """Passwords could be guessed from many addresses, as many as the server can hash."""
    found = [await attempt(throttle, True, address=f"192.0.2.{number}") for number in range(ACCOUNT + 2)]
    assert found == ["wrong"] * ACCOUNT + ["rate_limited"] * 2
    # The right one too: else its refusal would tell who guesses that the others were wrong
    assert await attempt(throttle, False, address="192.0.2.77") == "rate_limited"
    assert await attempt(throttle, False, account="other@b.test", address="192.0.2.77") == "right"
    clock.now += 60 / ACCOUNT
    assert await attempt(throttle, False, address="192.0.2.77") == "right"


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
    assert sorted(found) == ["rate_limited"] * (50 - ACCOUNT) + ["wrong"] * ACCOUNT


async def test_right_passwords_at_once_are_not_refused(throttle: LoginThrottle) -> None:
    """All devices of a user that come back at once would be refused, though nobody sent a wrong password."""
    assert await asyncio.gather(*(attempt(throttle, False) for _ in range(50))) == ["right"] * 50


async def test_wait_is_named_and_holds(throttle: LoginThrottle, clock: Clock) -> None:
    """A client would come back too early, and be refused again."""
    for _ in range(ACCOUNT):
        await attempt(throttle, True)
    with pytest.raises(PalaverError) as caught:
        async with throttle.attempt("a@b.test", "192.0.2.1"):
            pytest.fail("the budget is empty")
    assert caught.value.kind is RATE_LIMITED
    assert 0 < caught.value.retry_after <= 60 / ACCOUNT
    clock.now += caught.value.retry_after
    assert await attempt(throttle, True) == "wrong"


async def test_attempt_that_was_not_checked_costs_nothing(throttle: LoginThrottle) -> None:
    """A busy server would lock its users out."""
    for _ in range(20):
        with pytest.raises(PalaverError, match="busy"):
            async with throttle.attempt("a@b.test", "192.0.2.1"):
                raise PalaverError(OVERLOADED)
    assert await attempt(throttle, False) == "right"


async def test_those_who_wait_are_bounded(throttle: LoginThrottle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of guesses would fill the memory."""
    monkeypatch.setattr("palaver.auth.login_throttle.MOST_WAITING", 2)
    found = await asyncio.gather(*(attempt(throttle, True) for _ in range(ACCOUNT + 4)))
    assert sorted(found) == ["overloaded"] * 2 + ["rate_limited"] * 2 + ["wrong"] * ACCOUNT
