"""Lines that wait for earlier ones."""

from palaver.watch.log_reader import HOLD_SECONDS, LogLine, ReorderBuffer


def line(at: int) -> LogLine:
    """A line of that time."""
    return LogLine(at, "auth", {}, b"")


def times(lines: list[LogLine]) -> list[int]:
    """Their times."""
    return [one.at for one in lines]


def test_lines_of_two_services_come_by_time() -> None:
    """A call's answer would be shown before the call."""
    held = ReorderBuffer()
    held.add([line(3), line(5)], now=10.0)
    assert held.take(10.0) == []
    held.add([line(4), line(6)], now=10.1)
    assert held.take(10.0 + HOLD_SECONDS - 0.01) == []
    assert times(held.take(10.0 + HOLD_SECONDS)) == [3, 4, 5]
    assert times(held.take(10.1 + HOLD_SECONDS)) == [6]


def test_no_line_waits_for_ever() -> None:
    """A line whose clock is ahead would be shown when the clock has come there."""
    held = ReorderBuffer()
    held.add([line(10**12)], now=0.0)
    held.add([line(1)], now=HOLD_SECONDS)
    assert times(held.take(HOLD_SECONDS)) == [1, 10**12]
