"""What waits between the event loop and a thread that writes it: spans, and lines for a collector."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import structlog
from prometheus_client import Counter

from palaver.runtime.backoff import pause_after

DROPPED = Counter(
    "palaver_telemetry_dropped",
    "Spans and log lines that were not written, or did not reach the collector.",
    ["signal"],
)
SPANS_KEPT = Counter("palaver_spans_kept", "Spans written to a file, or taken by a collector.")
# So that both are there, at 0, before anything was dropped
for _signal in ("spans", "logs"):
    DROPPED.labels(_signal)

# How long the thread lets lines gather, so that it wakes up a few times a second at most
PAUSE_SECONDS = 0.25
# The thread rests so many times as long as it has worked: the event loop wants the interpreter's lock
REST = 2.0
# After a failure, doubled with each one that follows
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 5.0
# What is left to a thread whose writing was interrupted
LAST_SECONDS = 0.2

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Spool:
    """Lines that wait to be written by a thread of its own, which sleeps while there are none.

    Putting one in costs a fraction of a microsecond, from any thread, and never waits: what does not fit into
    `most_bytes` is dropped and counted as `signal`. `write` gets `at_once` lines at most. It may raise;
    what it was given is dropped then, and it is left alone for a while. `stop` ends a `write` under way.
    """

    def __init__(
        self,
        signal: str,
        write: Callable[[Sequence[bytes]], None],
        most_bytes: int,
        at_once: int,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._signal = signal
        self._write = write
        self._stop = stop
        self._most_bytes = most_bytes
        self._at_once = at_once
        self._waiting: deque[bytes] = deque()
        # Counted without a lock: the interpreter does not change threads within such a statement
        self._size = 0
        self._dropped = 0
        self._dropped_counted = 0
        self._failures = 0
        self._is_idle = True
        # Not an Event: the garbage collector may make asyncio log in the middle of a put, and a SimpleQueue
        # can be put to again then
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"spool-{signal}", daemon=True)
        self._thread.start()

    def has_room(self) -> bool:
        """Whether more fits. Where it does not, one is counted as dropped: it need not even be encoded."""
        if self._size < self._most_bytes:
            return True
        self.drop()
        return False

    def put(self, line: bytes) -> None:
        """Leaves a line to the thread, if there is room for it."""
        if self.has_room():
            self._size += len(line)
            self._waiting.append(line)
            self._wake()

    def drop(self) -> None:
        """Counts one that is lost. The thread adds it to the metric, whose lock may be held here."""
        self._dropped += 1
        self._wake()

    def _wake(self) -> None:
        if self._is_idle:
            self._is_idle = False
            self._wakeups.put(None)

    def begin_closing(self) -> None:
        """Takes what waits now for the last. Returns at once."""
        self._closing.set()
        self._wakeups.put(None)

    def close(self, until: float) -> None:
        """Returns when all is written; at `until` (monotonic seconds) what is not is given up."""
        self.begin_closing()
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._stop()
            self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wakeups.get()
            self._closing.wait(PAUSE_SECONDS)
            # Before the lines are taken: one that comes meanwhile wakes it again
            self._is_idle = True
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Writes what waits now. What comes meanwhile is for the next round: slices would be small."""
        left = len(self._waiting)
        while left:
            lines = [self._waiting.popleft() for _ in range(min(left, self._at_once))]
            left -= len(lines)
            self._size -= sum(map(len, lines))
            self._write_slice(lines)
        self._count_dropped()

    def _write_slice(self, lines: Sequence[bytes]) -> None:
        if self._closing.is_set() and self._failures:
            # There is no time to wait for better ones
            self._dropped += len(lines)
            return
        began = time.thread_time()
        try:
            self._write(lines)
        except Exception as error:
            self._dropped += len(lines)
            self._wait_after(error)
        else:
            self._note_success(len(lines))
        self._closing.wait(REST * (time.thread_time() - began))

    def _wait_after(self, error: Exception) -> None:
        if not self._failures:
            log.warning("telemetry_not_written", signal=self._signal, reason=str(error))
        self._failures += 1
        self._count_dropped()
        self._closing.wait(
            pause_after(self._failures, first=FIRST_WAIT_SECONDS, longest=LONGEST_WAIT_SECONDS)
        )

    def _note_success(self, lines: int) -> None:
        if self._signal == "spans":
            SPANS_KEPT.inc(lines)
        if self._failures:
            self._failures = 0
            self._count_dropped()
            log.info("telemetry_written_again", signal=self._signal, dropped=self._dropped)

    def _count_dropped(self) -> None:
        dropped = self._dropped
        if dropped != self._dropped_counted:
            DROPPED.labels(self._signal).inc(dropped - self._dropped_counted)
            self._dropped_counted = dropped
