"""When a process that died is started again."""

from palaver.runtime.restart_policy import CALM_SECONDS, LONGEST_PAUSE, MOST_DEATHS, Restarts


def test_pauses_grow_to_a_bound_and_then_it_gives_up() -> None:
    """A service that dies at once would be started in a tight loop, or for ever, without anybody noticing."""
    restarts = Restarts()
    pauses = [restarts.pause_after_death(now) for now in range(MOST_DEATHS)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_PAUSE, LONGEST_PAUSE, None]


def test_deaths_are_forgotten_after_a_calm_time() -> None:
    """A service that dies once a week would be given up after ten weeks."""
    restarts = Restarts()
    now = 0.0
    for _ in range(3 * MOST_DEATHS):
        restarts.note_ready(now)
        now += CALM_SECONDS
        assert restarts.pause_after_death(now) == 0.1


def test_a_short_life_is_not_calm() -> None:
    """A service that dies at its first request would be started for ever."""
    restarts = Restarts()
    now = 0.0
    pauses = []
    for _ in range(MOST_DEATHS):
        restarts.note_ready(now)
        now += CALM_SECONDS * 0.99
        pauses.append(restarts.pause_after_death(now))
    assert pauses[-1] is None


def test_calm_needs_to_be_ready() -> None:
    """A service that hangs at its start and then dies would never be given up."""
    restarts = Restarts()
    restarts.note_ready(0.0)
    assert restarts.pause_after_death(1.0) == 0.1
    assert restarts.pause_after_death(1.0 + 10 * CALM_SECONDS) == 0.2
