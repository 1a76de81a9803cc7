"""Whether a node is tried: one that does not answer must not hold the threads that others need. Sans-I/O."""

from palaver.runtime.backoff import pause_after

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0


class CircuitBreaker:
    """Opens at a failure, for a while that grows with each; then one call at a time probes the node, and its
    success closes it."""

    def __init__(self) -> None:
        self._failures = 0
        self._opens_until = 0.0
        self._is_probing = False

    @property
    def is_closed(self) -> bool:
        """Whether the last call succeeded, or there was none."""
        return self._failures == 0

    def admits(self, now: float) -> bool:
        """Whether a call may begin; it ends with `succeed` or `fail`."""
        if self._failures == 0:
            return True
        if self._is_probing or now < self._opens_until:
            return False
        self._is_probing = True
        return True

    def succeed(self) -> None:
        """A call was answered."""
        self._failures = 0
        self._is_probing = False

    def fail(self, now: float) -> None:
        """A call was not answered. Those that began together count as one."""
        if self._failures == 0 or self._is_probing:
            self._failures += 1
        self._is_probing = False
        pause = pause_after(self._failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        self._opens_until = max(self._opens_until, now + pause)

    def give_up(self) -> None:
        """A call ended without showing how the node is."""
        self._is_probing = False
