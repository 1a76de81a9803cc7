"""What waits for the thread that writes."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import REGISTRY

from palaver.runtime.telemetry import spool as spool_module
from palaver.runtime.telemetry.spool import Spool
from tests.harness.waiting import wait_until

LINE = b"x" * 100


def counted(signal: str = "spans") -> float:
    """What Prometheus was told of drops."""
    return REGISTRY.get_sample_value("palaver_telemetry_dropped_total", {"signal": signal}) or 0.0


def kept() -> float:
    """What Prometheus was told of kept spans."""
    return REGISTRY.get_sample_value("palaver_spans_kept_total") or 0.0


class Written:
    """Takes lines; `hold` makes it wait, `error` fail."""

    def __init__(self) -> None:
        self.slices: list[list[bytes]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_writing = threading.Event()
        self.error: Exception | None = None
        self.tries = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """See `Spool`."""
        self.tries += 1
        self.is_writing.set()
        self.may_go_on.wait(20)
        if self.error is not None:
            raise self.error
        self.slices.append(list(lines))

    @property
    def lines(self) -> list[bytes]:
        """All of them, in order."""
        return [line for lines in self.slices for line in lines]


Make = Callable[..., tuple[Spool, Written]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes spools that do not wait long."""
    monkeypatch.setattr(spool_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(spool_module, "FIRST_WAIT_SECONDS", 0.001)
    opened: list[tuple[Spool, Written]] = []

    def make_one(
        most_bytes: int = 10_000_000, at_once: int = 10, signal: str = "spans"
    ) -> tuple[Spool, Written]:
        written = Written()
        opened.append((Spool(signal, written.write, most_bytes, at_once), written))
        return opened[-1]

    yield make_one
    for spool, written in opened:
        written.may_go_on.set()
        spool.close(time.monotonic() + 20)


def test_lines_are_written_in_order_and_in_slices(make: Make) -> None:
    """Lines would be lost, or come to a collector in requests that it refuses as too large."""
    spool, written = make(at_once=10)
    lines = [b"%d" % n for n in range(1_000)]
    before = kept()
    for line in lines:
        spool.put(line)
    wait_until(lambda: len(written.lines) == 1_000, "all are written")
    assert written.lines == lines
    assert max(map(len, written.slices)) == 10
    wait_until(lambda: kept() == before + 1_000, "they are counted")


def test_an_idle_spool_wakes_nobody(make: Make) -> None:
    """A quiet machine would never sleep."""
    spool, written = make()
    spool.put(b"one")
    wait_until(lambda: written.lines == [b"one"], "it is written")
    thread = next(each for each in threading.enumerate() if each is spool._thread)
    rounds = []
    spool._write_waiting = lambda: rounds.append(1)  # type: ignore[method-assign] # seen from within
    # Ten times as long as lines gather
    thread.join(0.1)
    assert rounds == []
    spool.put(b"two")
    wait_until(lambda: rounds == [1], "it wakes up for a line")
    del spool._write_waiting


def test_what_does_not_fit_is_dropped_and_counted(make: Make) -> None:
    """A hanging disk or collector would fill the memory; or nobody would know that something is missing."""
    spool, written = make(most_bytes=1_000)
    before, kept_before = counted(), kept()
    written.may_go_on.clear()
    spool.put(LINE)
    written.is_writing.wait(20)
    for _ in range(50):
        spool.put(LINE)
    # What is being written has left the queue
    assert spool._size == 1_000
    written.may_go_on.set()
    wait_until(lambda: len(written.lines) == 11, "what fitted is written")
    wait_until(lambda: counted() == before + 40, "the rest is counted")
    wait_until(lambda: kept() == kept_before + 11, "what was written is counted")
    # There is room again
    spool.put(b"last")
    wait_until(lambda: written.lines[-1] == b"last", "it is written")


def test_putting_never_waits(make: Make) -> None:
    """A hanging collector would hold up every user's request."""
    spool, written = make(most_bytes=100_000)
    written.may_go_on.clear()
    began = time.perf_counter()
    for _ in range(20_000):
        spool.put(LINE)
    assert time.perf_counter() - began < 2.0


def test_threads_may_put_at_once(make: Make) -> None:
    """The lines of the threads that write to the database would be lost."""
    spool, written = make(at_once=100)

    def put_many(name: int) -> None:
        for number in range(2_000):
            spool.put(b"%d %d" % (name, number))

    threads = [threading.Thread(target=put_many, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(written.lines) == 8_000, "all are written")
    for name in range(4):
        mine = [line for line in written.lines if line.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, number) for number in range(2_000)]
    assert spool._size == 0


def test_a_failure_drops_its_slice_and_no_more(make: Make) -> None:
    """One full disk would end all telemetry until the next restart."""
    spool, written = make(at_once=10)
    before = counted()
    written.error = OSError("No space left on device")
    spool.put(b"lost")
    wait_until(lambda: counted() == before + 1, "it is counted")
    written.error = None
    spool.put(b"kept")
    wait_until(lambda: written.lines == [b"kept"], "the next is written")


def test_who_fails_is_left_alone_for_longer_and_longer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead collector would be asked for thousands of times a second."""
    monkeypatch.setattr(spool_module, "FIRST_WAIT_SECONDS", 0.05)
    spool, written = make(at_once=1)
    written.error = OSError("nobody there")
    began = time.monotonic()
    for _ in range(1_000):
        spool.put(LINE)
    wait_until(lambda: written.tries == 4, "it is tried again")
    # 0.05 + 0.1 + 0.2
    assert time.monotonic() - began >= 0.35


def test_closing_writes_what_waits(make: Make) -> None:
    """The last quarter of a second before each stop would be in no trace."""
    spool, written = make()
    for number in range(100):
        spool.put(b"%d" % number)
    spool.close(time.monotonic() + 20)
    assert written.lines == [b"%d" % number for number in range(100)]


def test_closing_does_not_wait_for_who_hangs() -> None:
    """A service could not be stopped because its collector hangs."""
    written = Written()
    written.may_go_on.clear()

    def stop() -> None:
        written.error = OSError("stopped")
        written.may_go_on.set()

    spool = Spool("spans", written.write, 10_000, 10, stop)
    before = counted()
    for _ in range(25):
        spool.put(LINE)
    written.is_writing.wait(20)
    began = time.monotonic()
    spool.close(began + 0.1)
    assert 0.1 <= time.monotonic() - began < 5.0
    assert not spool._thread.is_alive()
    # One slice was under way; the others are not even tried
    assert written.tries == 1
    assert counted() == before + 25


def test_closing_does_not_wait_between_failures() -> None:
    """A service could not be stopped because its collector is gone."""
    written = Written()
    written.error = OSError("nobody there")
    spool = Spool("spans", written.write, 10_000, 1)
    for _ in range(25):
        spool.put(LINE)
    written.is_writing.wait(20)
    began = time.monotonic()
    spool.close(began + 20)
    assert time.monotonic() - began < 5.0
