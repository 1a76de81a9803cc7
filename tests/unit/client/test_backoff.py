"""How long a client waits before it comes back."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.client.backoff import CALM_SECONDS, Backoff


def test_the_bound_doubles_up_to_the_longest() -> None:
    """Clients would hammer a server that is down, or come back only after hours."""
    backoff = Backoff(lambda: 1.0, first=1.0, longest=10.0)
    assert [backoff.pause_after() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=200))
def test_pauses_are_spread_from_zero_on(chances: list[float]) -> None:
    """Clients that lost one server at one moment would all come back at one moment."""
    drawn = iter(chances)
    backoff = Backoff(lambda: next(drawn), first=1.0, longest=10.0)
    for number, chance in enumerate(chances):
        assert backoff.pause_after() == chance * min(10.0, 2.0**number)


def test_a_calm_connection_starts_anew() -> None:
    """After a day with a bad hour, each later cut would cost half a minute."""
    backoff = Backoff(lambda: 1.0, first=1.0, longest=10.0)
    for _ in range(9):
        backoff.pause_after(lived=CALM_SECONDS / 2)
    assert backoff.pause_after(lived=CALM_SECONDS) == 1.0
    assert backoff.pause_after() == 2.0


def test_what_the_server_asks_for_comes_first() -> None:
    """A server that is overloaded would not be listened to, or could keep clients away for ever."""
    backoff = Backoff(lambda: 0.5, first=1.0, longest=10.0)
    assert backoff.pause_after(retry_after=3.0) == 3.5
    assert Backoff(lambda: 0.0, longest=10.0).pause_after(retry_after=1e9) == 10.0
