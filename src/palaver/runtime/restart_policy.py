"""When a process that died is started again. Sans-I/O: callers pass the time in."""

from dataclasses import dataclass

from palaver.runtime.backoff import pause_after

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
# So many deaths in a row take half a minute at least. To go on would hide from whoever watches over us that
# nothing works.
MOST_DEATHS = 10
# Ready for so long, it works: its next death has nothing to do with those before.
CALM_SECONDS = 5.0


@dataclass(slots=True)
class Restarts:
    """The deaths in a row of one child. Times are seconds of any clock that only goes forward."""

    deaths: int = 0
    ready_at: float | None = None

    def note_ready(self, now: float) -> None:
        """The child answers."""
        self.ready_at = now

    def pause_after_death(self, now: float) -> float | None:
        """Seconds to wait before the next start. None: give up."""
        if self.ready_at is not None and now - self.ready_at >= CALM_SECONDS:
            self.deaths = 0
        self.ready_at = None
        self.deaths += 1
        if self.deaths >= MOST_DEATHS:
            return None
        return pause_after(self.deaths, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
