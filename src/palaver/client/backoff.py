"""When a client comes back after a failure. Sans-I/O: chance is injected, callers wait by themselves."""

from collections.abc import Callable

from palaver.runtime.backoff import pause_after

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 30.0
# A connection that lived so long worked: its loss has nothing to do with the failures before.
CALM_SECONDS = 10.0


class Backoff:
    """Exponential back-off with full jitter: each pause is anything between 0 and a bound that doubles.

    `chance` gives numbers of [0, 1). With full jitter, clients that lost one server at one moment do not
    come back at one moment.
    """

    def __init__(
        self, chance: Callable[[], float], first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._chance = chance
        self._first = first
        self._longest = longest
        self._failures = 0

    def pause_after(self, lived: float = 0.0, retry_after: float = 0.0) -> float:
        """Seconds to wait after a failure. `lived`: seconds that the connection had lived; `retry_after`:
        the seconds that the server demands, which come first."""
        if lived >= CALM_SECONDS:
            self._failures = 0
        self._failures += 1
        pause = pause_after(self._failures, first=self._first, longest=self._longest, jitter=self._chance())
        return min(retry_after, self._longest) + pause
